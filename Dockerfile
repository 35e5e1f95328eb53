# The image of fileproxy from its source: `docker build -t fileproxy .`; of a program that is built already: packaging/image.sh.

FROM rust:1-bookworm AS builder
WORKDIR /build

# A static program, so that the image has nothing beside it. cargo builds it for this processor.
RUN apt-get update && apt-get install --yes --no-install-recommends musl-tools ca-certificates \
    && rustup target add "$(uname -m)-unknown-linux-musl" \
    && mkdir .cargo && printf '[build]\ntarget = "%s-unknown-linux-musl"\n' "$(uname -m)" > .cargo/config.toml

# The dependencies first, in a layer of their own: it stays until Cargo.toml or Cargo.lock change.
COPY Cargo.toml Cargo.lock ./
COPY load/Cargo.toml load/
COPY testbed/Cargo.toml testbed/
RUN mkdir -p src load/src testbed/src \
    && touch src/lib.rs load/src/lib.rs testbed/src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs load/src/main.rs >/dev/null \
    && cargo build --profile dist --locked --package fileproxy \
    && rm -r src testbed/src

COPY settings/base.toml settings/
COPY src src
COPY testbed/src testbed/src
# COPY keeps the files' times, which may be older than the build above.
RUN find src testbed/src -name '*.rs' -exec touch {} + \
    && cargo build --profile dist --locked --package fileproxy

# All that the image has: the program, the certificates that https origins are verified with, and the settings.
COPY packaging/image.sh packaging/
RUN FOLDER=/image packaging/image.sh target/*-unknown-linux-musl/dist/fileproxy -

FROM scratch
LABEL org.opencontainers.image.title="fileproxy" \
      org.opencontainers.image.description="A reverse proxy for files that keeps delivering when the network is bad" \
      org.opencontainers.image.licenses="MIT"

COPY --from=builder /image /

ENV PATH=/usr/local/bin
WORKDIR /app
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 10080 10081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 CMD ["fileproxy", "probe"]
ENTRYPOINT ["fileproxy"]
CMD ["serve"]
