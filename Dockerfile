# One image with every binary. It needs BuildKit, which Docker has used by itself since version 23.
#
#   docker build -t redis-in-real-backends:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/redis-in-real-backends:0.1.0 --push .
#
# From binaries that a Linux host has built already (FOLDER holds them, and nothing else); scripts/image.sh does all of it:
#
#   docker build -f Dockerfile --target prebuilt -t redis-in-real-backends:0.1.0 FOLDER
#   docker build -f Dockerfile --target dev      -t redis-in-real-backends:dev   FOLDER
#
# The services are one program there, each by a link of its name: what they share is most of each of them.
#
# The system libraries are Debian 13's in all stages: a binary of an older host runs, one of a newer host may not.

ARG RUST_IMAGE=rust:1.95-slim-trixie
ARG RUN_IMAGE=gcr.io/distroless/cc-debian13:nonroot
ARG DEV_IMAGE=debian:trixie-slim
# scripts/programs.sh reads this line, too.
ARG SERVICES="blog-api booking-api shop-api shop-worker"
# What cargo builds for the image. The features: in a cluster, the strategy k8s-lease and the lab that finds the replicas.
ARG PACKAGES="-p backends -p lab --features backends/k8s,lab/k8s"

# What runs: no shell, no package manager, no user who may write a file.
FROM ${RUN_IMAGE} AS run
LABEL org.opencontainers.image.title="redis-in-real-backends" \
    org.opencontainers.image.description="the services of redis-in-real-backends, and the lab" \
    org.opencontainers.image.licenses="Apache-2.0 OR MIT"
# By number: the kubelet cannot see that a name is not root's.
USER 65532:65532
WORKDIR /tmp
# 8080 is the API, 9080 the probes and metrics.
EXPOSE 8080 9080
ENV LISTEN=0.0.0.0:8080 ADMIN_LISTEN=0.0.0.0:9080 LOG_FORMAT=json
# No entry point: a pod names the binary. Without one, the image says what it can do.
CMD ["/usr/local/bin/lab", "--help"]

FROM run AS prebuilt
COPY . /usr/local/bin/

# For `tilt up`: a folder that a live update may write to, and a wrapper that runs the program anew on SIGHUP, which a live
# update sends to it. The release image keeps its read-only root.
FROM ${DEV_IMAGE} AS dev
RUN install -d -o 65532 -g 65532 /app && \
    printf '%s\n' '#!/bin/sh' \
    '# Runs a program; runs it anew on SIGHUP; ends as it ends.' \
    'again=yes pid=' \
    'trap '\''[ "$again" = end ] || again=yes; [ -z "$pid" ] || kill -TERM "$pid"'\'' HUP' \
    'trap '\''again=end; [ -z "$pid" ] || kill -TERM "$pid"'\'' TERM INT' \
    'while [ "$again" = yes ]; do' \
    '  again=no' \
    '  "$@" & pid=$!' \
    '  # A signal ends `wait` early; the program is over only when it is gone.' \
    '  while wait "$pid"; status=$?; kill -0 "$pid" 2>/dev/null; do :; done' \
    'done' \
    'exit "$status"' > /usr/local/bin/restarting && chmod 0755 /usr/local/bin/restarting
# The lab has an image of its own there, and asks for this in the containers of the others.
RUN printf '%s\n' '#!/bin/sh' \
    '# Signals each process of a name, as the command of the lab that it stands for: lab signal STOP|CONT|KILL|HUP PROGRAM' \
    '[ "$1" = signal ] && [ $# -eq 3 ] || { echo "here, the lab can only: lab signal SIGNAL PROGRAM" >&2; exit 64; }' \
    'found=' \
    'for comm in /proc/[0-9]*/comm; do' \
    '  [ "$(cat "$comm" 2>/dev/null)" = "$3" ] || continue' \
    '  process=${comm#/proc/} process=${process%/comm} state=signalled' \
    '  kill -"$2" "$process" || exit' \
    '  # A signal may take a moment.' \
    '  while [ "$2" = STOP ] && [ -e "/proc/$process" ] && [ "$state" != stopped ]; do' \
    '    ! grep -q "^State:.T" "/proc/$process/status" || state=stopped' \
    '  done' \
    '  found=yes; echo "process $process is $state"' \
    'done' \
    '[ "$found" ] || { echo "no process here is called $3" >&2; exit 1; }' > /usr/local/bin/lab && chmod 0755 /usr/local/bin/lab
USER 65532:65532
WORKDIR /app
ENV PATH=/app:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LISTEN=0.0.0.0:8080 ADMIN_LISTEN=0.0.0.0:9080
# Whatever the folder holds: Tilt has an image for each program, so that a change of one leaves the others alone.
COPY --chown=65532:65532 . /app/
CMD ["sh", "-c", "ls /app"]

# The build runs on the builder's own processor and compiles for the image's: emulation would take an hour.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS toolchain
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src
# Only where the two differ: the target's standard library, linker and C compiler (ring has C in it).
RUN set -eu; \
    [ "$TARGETARCH" != "$BUILDARCH" ] || exit 0; \
    case "$TARGETARCH" in \
        amd64) arch=x86_64 package=x86-64 ;; \
        arm64) arch=aarch64 package=aarch64 ;; \
        *) echo "no recipe for $TARGETARCH: amd64 and arm64 are supported" >&2; exit 64 ;; \
    esac; \
    apt-get update; \
    apt-get install --yes --no-install-recommends "gcc-$package-linux-gnu" "libc6-dev-$TARGETARCH-cross"; \
    rm -rf /var/lib/apt/lists/*; \
    rustup target add "$arch-unknown-linux-gnu"; \
    printf '%s\n' '[build]' "target = \"$arch-unknown-linux-gnu\"" \
        "[target.$arch-unknown-linux-gnu]" "linker = \"$arch-linux-gnu-gcc\"" \
        '[env]' "CC_${arch}_unknown_linux_gnu = \"$arch-linux-gnu-gcc\"" >> "$CARGO_HOME/config.toml"

# The manifests, and an empty file for each root of a crate: all that the dependencies' build depends on. The next
# stage's layer stays valid until this folder changes, so a changed source file compiles this workspace alone.
FROM toolchain AS skeleton
COPY . .
RUN set -eu; mkdir /skeleton; \
    find . -name Cargo.toml -o -name Cargo.lock | while read -r file; do \
        install -D -m 0644 "$file" "/skeleton/$file"; \
    done; \
    find apps crates \( -path '*/src/lib.rs' -o -path '*/src/main.rs' -o -path '*/benches/*.rs' \
        -o -path '*/examples/*.rs' -o -path '*/tests/*/main.rs' -o -name build.rs \) -print | while read -r file; do \
        mkdir -p "/skeleton/$(dirname "$file")"; \
        case "$file" in */lib.rs) : ;; *) echo 'fn main() {}' ;; esac > "/skeleton/$file"; \
    done; \
    find /skeleton -exec touch -d @0 {} +

FROM toolchain AS dependencies
# Names of functions stay, for backtraces; line tables would be most of the image.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo CARGO_TERM_COLOR=never SQLX_OFFLINE=true
ARG PACKAGES
COPY --from=skeleton /skeleton .
RUN cargo build --release --locked $PACKAGES

FROM dependencies AS build
ARG SERVICES
COPY . .
# The empty files were compiled later than these were written: without new times, cargo would take them for built.
RUN set -eu; \
    find apps crates -type f -exec touch {} +; \
    cargo build --release --locked $PACKAGES; \
    mkdir /out; \
    for name in $SERVICES; do ln -s backends "/out/$name"; done; \
    for name in backends lab; do \
        find target -maxdepth 3 -type f -path "*release/$name" -exec cp {} /out/ \;; \
        test -x "/out/$name"; \
    done

# For `tilt up` where the host is no Linux: the same as `cargo build`, and as quick the second time, because cargo's folders
# outlive the build. The binaries come out by `docker build --target binaries --output FOLDER .`.
FROM toolchain AS dev-build
ARG SERVICES
# Empty: the dev profile. Or --release.
ARG PROFILE=
ENV CARGO_TERM_COLOR=never SQLX_OFFLINE=true
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,sharing=locked \
    set -eu; \
    cargo build --locked $PROFILE $(printf -- '-p %s ' $SERVICES) -p lab --features booking-api/k8s,lab/k8s; \
    mkdir /out; \
    folder=debug; [ -z "$PROFILE" ] || folder=release; \
    for name in $SERVICES lab; do strip --strip-debug -o "/out/$name" "target/$folder/$name"; done

FROM scratch AS binaries
COPY --from=dev-build /out/ /

# The last stage is the one that is built when none is named.
FROM run AS release
COPY --from=build /out/ /usr/local/bin/
