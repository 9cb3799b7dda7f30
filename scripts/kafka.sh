#!/usr/bin/env bash
# A real Apache Kafka broker on loopback, without Docker: for people who try Weir, for tests, for CI.
#
#   scripts/kafka.sh fetch                    get Kafka's published jars (43 MB) through Maven
#   scripts/kafka.sh start                    fetch if needed, start, wait until it answers, print host:port
#   scripts/kafka.sh topic NAME PARTITIONS    create a topic
#   scripts/kafka.sh status                   print host:port if it answers, fail if not
#   scripts/kafka.sh stop                     stop in order
#   scripts/kafka.sh kill                     kill -9; `start` then goes on with the same data and port
#   scripts/kafka.sh restart                  stop, start
#
# Needs: bash, Java 17 or newer and Maven (Debian: openjdk-17-jre-headless maven).
#
# KAFKA_HOME        where everything is kept (default: .kafka in the repository); remove it to start anew
# KAFKA_LIBS        where the jars are (default: $KAFKA_HOME/libs); several brokers can share them
# KAFKA_PORT        port of the broker; unset or 0: a free one is chosen once and kept in $KAFKA_HOME/port
# KAFKA_PROPERTIES  more lines for server.properties
set -euo pipefail

version=4.1.1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=${KAFKA_HOME:-$root/.kafka}
mkdir -p "$home"
home=$(cd "$home" && pwd)
libs=${KAFKA_LIBS:-$home/libs}
config=$home/server.properties
log=$home/log
ready_seconds=60

say() { printf 'kafka.sh: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

need() {
    command -v "$1" >/dev/null || fail "$1 is missing; on Debian: apt install $2"
}

fetch() {
    [ -e "$libs/.complete-$version" ] && return
    need java openjdk-17-jre-headless
    need mvn maven
    say "fetching Apache Kafka $version into $libs"
    mkdir -p "$libs"
    cat >"$home/pom.xml" <<EOF
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>weir</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
EOF
    (cd "$home" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$libs") >&2
    touch "$libs/.complete-$version"
}

open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    for _ in $(seq 100); do
        # Below the range that the kernel gives to outgoing connections.
        port=$((RANDOM % 12000 + 20000))
        if ! open_port "$port" && ! open_port $((port + 1)); then
            echo "$port"
            return
        fi
    done
    fail "no free port found"
}

port() {
    if [ "${KAFKA_PORT:-0}" != 0 ]; then
        echo "$KAFKA_PORT"
    elif [ -e "$home/port" ]; then
        cat "$home/port"
    else
        free_port
    fi
}

# The broker's process, if it is ours and alive.
pid() {
    local pid
    pid=$(cat "$home/pid" 2>/dev/null) || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$config" || return 1
    echo "$pid"
}

# Asks for the cluster's metadata (API 3, version 0, no topics named) and wants at least one broker in the answer.
answers() {
    local brokers
    brokers=$(
        exec 2>/dev/null
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf '\x00\x00\x00\x12\x00\x03\x00\x00\x00\x00\x00\x01\x00\x04weir\x00\x00\x00\x00' >&3
        # Length, correlation id, number of brokers: four bytes each.
        timeout 5 head -c 12 <&3 | od -An -tu1 | tr -s ' \n' ' ' | cut -d' ' -f13
    ) || return 1
    [ "${brokers:-0}" -ge 1 ]
}

configure() {
    local port=$1 controller=$(($1 + 1))
    cat >"$config" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$home/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=12000000
${KAFKA_PROPERTIES:-}
EOF
}

start() {
    fetch
    need java openjdk-17-jre-headless
    local port
    port=$(port)
    if pid >/dev/null; then
        answers "$port" && { echo "127.0.0.1:$port"; return; }
    else
        open_port "$port" && fail "port $port is taken by another program; set KAFKA_PORT"
        configure "$port"
        echo "$port" >"$home/port"
        if [ ! -e "$home/data/meta.properties" ]; then
            java -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool \
                format --standalone -t MkU3OEVBNTcwNTJENDM2Qk -c "$config" >>"$log" 2>&1 ||
                fail "formatting the data folder failed, see $log"
        fi
        nohup setsid java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
            -Dorg.slf4j.simpleLogger.showDateTime=true "-Dlog4j2.level=INFO" \
            -cp "$libs/*" kafka.Kafka "$config" >>"$log" 2>&1 </dev/null &
        echo $! >"$home/pid"
    fi
    for _ in $(seq $((ready_seconds * 5))); do
        if answers "$port"; then
            echo "127.0.0.1:$port"
            return
        fi
        pid >/dev/null || fail "the broker ended, see $log"
        sleep 0.2
    done
    fail "the broker does not answer on port $port after $ready_seconds s, see $log"
}

# Waits until the process and its port are gone: a killed process holds the port for another moment.
gone() {
    for _ in $(seq 150); do
        pid >/dev/null || open_port "$(port)" || return 0
        sleep 0.2
    done
    return 1
}

stop() {
    local pid
    pid=$(pid) || return 0
    kill "$pid"
    gone || { say "does not stop, killing it"; kill -9 "$pid"; gone; }
    rm -f "$home/pid"
}

kill_hard() {
    local pid
    pid=$(pid) || fail "is not running"
    kill -9 "$pid"
    gone
    rm -f "$home/pid"
}

status() {
    local port
    port=$(port)
    pid >/dev/null && answers "$port" || fail "is not running"
    echo "127.0.0.1:$port"
}

topic() {
    [ $# = 2 ] || fail "usage: kafka.sh topic NAME PARTITIONS"
    local broker
    broker=$(status) || exit 1
    java -XX:TieredStopAtLevel=1 -cp "$libs/*" org.apache.kafka.tools.TopicCommand \
        --bootstrap-server "$broker" --create --if-not-exists --topic "$1" --partitions "$2" 2>>"$log" >&2
}

case ${1:-} in
    fetch | start | stop | status) "$1" ;;
    restart) stop; start ;;
    kill) kill_hard ;;
    topic) shift; topic "$@" ;;
    *) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
