# One image for every role:
#
#   docker build -t baton .
#   docker run --rm baton --help
#
# Give an exec-server `--init`: what a command leaves behind is the container's first process's to reap, and Baton reaps its own only.
#
# Both bases are pinned by digest. To build on others, pass another image: `--build-arg DEBIAN=debian:bookworm-slim`.
ARG RUST=rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG DEBIAN=debian:bookworm-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251

# The workspace with empty crates: what the dependencies follow from, and nothing that changes with every commit.
FROM ${RUST} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name lib.rs ! -name main.rs ! -name build.rs -delete \
    && find . -name '*.rs' | while read -r file; do echo 'fn main() {}' >"$file"; done \
    && find . -type d -empty -delete

FROM ${RUST} AS build
WORKDIR /src
# This layer has the dependencies alone. It is built again when a manifest or the lock file changes: a stage's files are compared by
# content. No cache mount, so that the builder of engine 20.10 will do.
COPY --from=manifests /src .
RUN cargo build --release --locked -p baton
COPY . .
# Cargo compares times, and the sources may be older than the empty crates.
RUN find . -name '*.rs' -exec touch {} + && cargo build --release --locked -p baton

FROM ${DEBIAN}
COPY --from=build /src/target/release/baton /usr/local/bin/baton
# Nothing runs as root. A new volume takes over the owner and the mode of the directory that it is mounted on; /allow and /tickets are for
# what the containers of docker-compose.yml hand each other.
RUN echo 'baton:x:10001:10001:Baton:/home/baton:/bin/sh' >>/etc/passwd \
    && echo 'baton:x:10001:' >>/etc/group \
    && install -d -o 10001 -g 10001 -m 700 /home/baton /allow /tickets
ENV HOME=/home/baton USER=baton
WORKDIR /home/baton
USER 10001:10001
ENTRYPOINT ["baton"]
