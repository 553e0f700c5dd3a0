# One image for every role:
#
#   docker build -t baton .
#   docker run --rm baton --help
#
# Orphaned descendants of commands become children of the container's first process, which must reap them. An exec-server
# does so if it is that process.
#
# Both base images are pinned by digest. To use another one: `--build-arg DEBIAN=debian:bookworm-slim`.
ARG RUST=rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG DEBIAN=debian:bookworm-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251

# The workspace with empty crates. It determines the dependencies, and does not change with every commit.
FROM ${RUST} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name lib.rs ! -name main.rs ! -name build.rs -delete \
    && find . -name '*.rs' | while read -r file; do echo 'fn main() {}' >"$file"; done \
    && find . -type d -empty -delete

FROM ${RUST} AS build
WORKDIR /src
# This layer builds the dependencies only. Docker compares a stage's files by content, so the layer is rebuilt only when
# a manifest or the lock file changes. It uses no cache mount, so that the builder of engine 20.10 can build it.
COPY --from=manifests /src .
RUN cargo build --release --locked -p baton
COPY . .
# Cargo compares modification times, and the sources may be older than the empty crates.
RUN find . -name '*.rs' -exec touch {} + && cargo build --release --locked -p baton

FROM ${DEBIAN}
COPY --from=build /src/target/release/baton /usr/local/bin/baton
# Nothing runs as root. A new volume gets the owner and the mode of the directory that it is mounted on. The containers
# of docker-compose.yml share the allow-list in /allow and tickets in /tickets.
RUN echo 'baton:x:10001:10001:Baton:/home/baton:/bin/sh' >>/etc/passwd \
    && echo 'baton:x:10001:' >>/etc/group \
    && install -d -o 10001 -g 10001 -m 700 /home/baton /allow /tickets
ENV HOME=/home/baton USER=baton
WORKDIR /home/baton
USER 10001:10001
ENTRYPOINT ["baton"]
