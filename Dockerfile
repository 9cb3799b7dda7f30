# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
# librdkafka is compiled from source; OpenSSL and zlib are linked from the system.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin weir \
    && cp target/release/weir /usr/local/bin/weir

# Debian slim and not distroless: `weir` links libssl3 and zlib1g dynamically so that their security updates
# arrive by rebuilding this stage alone, distroless/cc has no zlib, and the health check needs a shell.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid weir --no-create-home --home-dir /var/lib/weir --shell /usr/sbin/nologin weir \
    && install -d -o weir -g weir -m 0750 /var/lib/weir
COPY --from=build /usr/local/bin/weir /usr/local/bin/weir
# Freed memory is kept for a second: blocks of input come and go by the megabyte. On 2 cores a replay into the
# store ran at 132,000 instead of 102,000 events a second, with 3 % more memory.
ENV MIMALLOC_PURGE_DELAY=1000
USER 10001:10001
WORKDIR /var/lib/weir
VOLUME /var/lib/weir
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/weir"]
CMD ["run", "--config", "/etc/weir/weir.toml"]
