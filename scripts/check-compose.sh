#!/usr/bin/env bash
# Checks docker-compose.yml without a Docker daemon.
#
#   scripts/check-compose.sh            schema, variables, references: with `docker compose config` where the
#                                       plugin is there, else with the loader it is made of (needs Go)
#   scripts/check-compose.sh --broker   also runs the broker with just the settings of deploy/kafka.env, through
#                                       the program with which the image makes its configuration of them, tries
#                                       the health check and makes the topics (needs what scripts/kafka.sh needs)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'check-compose.sh: %s\n' "$*" >&2; exit 1; }

loaded() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --file docker-compose.yml config
    elif command -v go >/dev/null; then
        go -C scripts/compose-check run . "$PWD/docker-compose.yml"
    else
        fail "neither the compose plugin of docker nor go is here"
    fi
}

check_schema() {
    # Without the token it must be refused, by the variable's name.
    local out
    if out=$(unset WEIR_API_TOKEN; loaded 2>&1); then
        fail "the file is accepted without WEIR_API_TOKEN"
    fi
    grep -q WEIR_API_TOKEN <<<"$out" || fail "refused for another reason: $out"
    out=$(export WEIR_API_TOKEN=for-the-check; loaded) || fail "refused"
    for wanted in apache/kafka:4.1.1 read_only 'WEIR_API__TOKEN: for-the-check' 127.0.0.1 service_completed_successfully; do
        grep -qF -- "$wanted" <<<"$out" || fail "the loaded file lacks $wanted"
    done
    echo "docker-compose.yml is good"
}

check_broker() {
    scripts/kafka.sh fetch
    local libs home pid
    libs=${KAFKA_LIBS:-${KAFKA_HOME:-.kafka}/libs}
    home=$(mktemp -d)
    mkdir "$home/default" "$home/mounted" "$home/final" "$home/data"
    # The image's own files; empty ones will do here.
    touch "$home/default/"{server.properties,log4j2.yaml,tools-log4j2.yaml}
    for port in 9092 19092 29093; do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is taken; stop what listens there"
    done
    # Here the host `kafka` is this one, and the data lie in a temporary folder.
    while IFS='=' read -r name value; do
        value=${value//kafka:/localhost:}
        export "$name=${value//\/var\/lib\/kafka\/data/$home/data}"
    done < <(grep -v '^#' deploy/kafka.env)
    java -cp "$libs/*" kafka.docker.KafkaDockerWrapper setup \
        -D "$home/default" -M "$home/mounted" -F "$home/final" >"$home/log" 2>&1 || { tail "$home/log"; fail "setup refused"; }
    java $KAFKA_HEAP_OPTS -XX:+UseSerialGC -cp "$libs/*" kafka.Kafka "$home/final/server.properties" >>"$home/log" 2>&1 &
    pid=$!
    trap "kill $pid 2>/dev/null; wait $pid 2>/dev/null; rm -rf '$home'" EXIT
    for _ in $(seq 60); do
        bash -c 'exec 3<>/dev/tcp/localhost/9092' 2>/dev/null && break
        kill -0 "$pid" 2>/dev/null || { tail "$home/log"; fail "the broker ended"; }
        sleep 1
    done
    for listener in localhost:9092 localhost:19092; do
        for topic in cloudtrail:3 k8s-audit:3 falco:3 weir-dead-letters:1; do
            java -XX:TieredStopAtLevel=1 -cp "$libs/*" org.apache.kafka.tools.TopicCommand --bootstrap-server "$listener" \
                --create --if-not-exists --topic "${topic%:*}" --partitions "${topic#*:}" >>"$home/log" 2>&1 ||
                { tail "$home/log"; fail "$topic cannot be made through $listener"; }
        done
    done
    echo "a broker runs with the settings of deploy/kafka.env, both listeners answer, topics can be made"
}

check_schema
case ${1:-} in
    '') ;;
    --broker) check_broker ;;
    *) fail "usage: check-compose.sh [--broker]" ;;
esac
