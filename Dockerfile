# The image of fileproxy: `docker build -t fileproxy .`

FROM rust:1-bookworm AS builder
WORKDIR /build

# The dependencies first, in a layer of their own: it stays until Cargo.toml or Cargo.lock change.
COPY Cargo.toml Cargo.lock ./
COPY load/Cargo.toml load/
RUN mkdir -p src load/src \
    && touch src/lib.rs load/src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs load/src/main.rs >/dev/null \
    && cargo build --release --locked --package fileproxy \
    && rm -r src

COPY settings/base.toml settings/
COPY src src
# COPY keeps the files' times, which may be older than the build above.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package fileproxy \
    && strip target/release/fileproxy

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="fileproxy" \
      org.opencontainers.image.description="A reverse proxy for files that keeps delivering when the network is bad" \
      org.opencontainers.image.licenses="MIT"

# The certificates that https origins are verified with.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=builder /build/target/release/fileproxy /usr/local/bin/
COPY settings /app/settings

WORKDIR /app
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 10080 10081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 CMD ["fileproxy", "probe"]
ENTRYPOINT ["fileproxy"]
CMD ["serve"]
