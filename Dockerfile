# The sidecar as a slim image: built in one stage, shipped in another that holds the program, the libraries that Kafka's client
# takes from the system, and the system's certificates.
# Nothing in it needs a shell, and it runs as an ordinary user.
ARG RUST_TAG=1.95-slim-bookworm
ARG DEBIAN_TAG=12.12-slim

FROM rust:${RUST_TAG} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ libssl-dev lld make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN cargo build --locked --release --package understudy

FROM debian:${DEBIAN_TAG}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/understudy /usr/local/bin/understudy
USER 65532:65532
EXPOSE 7070
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["understudy", "healthcheck"]
ENTRYPOINT ["understudy"]
CMD ["--help"]
