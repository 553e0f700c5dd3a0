# One image for every role:
#
#   docker build -t baton .
#   docker run --rm baton --help
#
# Give an exec-server `--init`: what a command leaves behind is the container's first process's to reap, and Baton reaps its own only.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p baton

FROM debian:bookworm-slim
COPY --from=build /src/target/release/baton /usr/local/bin/baton
# Nothing runs as root. Keys are made in the home directory; what containers hand each other goes through /shared. A new volume
# takes over the owner and the mode of the directory that it is mounted on.
RUN install -d -o 10001 -g 10001 -m 700 /home/baton \
    && install -d -o 10001 -g 10001 -m 700 /shared
ENV HOME=/home/baton USER=baton
WORKDIR /home/baton
USER 10001:10001
ENTRYPOINT ["baton"]
