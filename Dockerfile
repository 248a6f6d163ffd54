# The image of stockpotd: runs as uid 65532 on a read-only root and writes to
# /var/lib/stockpot alone.
#
#   docker build -t stockpot .
#   docker run --read-only -p 50051:50051 -p 9090:9090 \
#     -v /path/to/hf-model:/models/base:ro -v stockpot:/var/lib/stockpot stockpot
#
# BUILD=compiled (default) builds everything inside. BUILD=prebuilt takes what
# `deploy/stage_runtime.sh build/release build/image` has laid out; that needs
# Debian 12 outside too. deploy/build_image.sh drives both without a registry.
ARG BASE=debian:bookworm-slim
ARG BUILD=compiled

FROM ${BASE} AS compiled
# How many compilers at once; a file that includes torch takes up to 1.4 GB.
ARG JOBS=2
WORKDIR /src
# Alone in its layer: packages and libtorch change less often than the code.
COPY tools/setup.sh tools/setup.sh
RUN tools/setup.sh build
COPY . .
RUN cmake --preset release \
    && nice cmake --build --preset release -j "${JOBS}" \
         --target stockpotd stockpot \
    && deploy/stage_runtime.sh build/release /stage \
    && rm -rf build

FROM ${BASE} AS prebuilt
COPY build/image /stage

FROM ${BUILD} AS binaries

FROM ${BASE} AS runtime
# What stockpotd and stockpot link, and nothing else. The list is checked below.
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
         --no-install-recommends \
         libabsl20220623 libgrpc++1.51 libpcre2-8-0 libprometheus-cpp-core1.0 \
         libprotobuf32 librocksdb7.8 libssl3 libstdc++6 libutf8proc2 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt \
         /var/log/dpkg.log
RUN groupadd --gid 65532 stockpot \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent \
         --shell /usr/sbin/nologin stockpot \
    && install -d -o 65532 -g 65532 -m 0750 /var/lib/stockpot \
    && install -d /models/base
COPY --from=binaries /stage/opt/stockpot /opt/stockpot
# A library that is missing is a failed build, not a crash loop.
RUN ! ldd /opt/stockpot/bin/* | grep 'not found'
ENV PATH=/opt/stockpot/bin:/usr/bin:/bin
USER 65532:65532
WORKDIR /
VOLUME /var/lib/stockpot
EXPOSE 50051 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/stockpot/bin/stockpotd"]
CMD ["--model=/models/base", "--registry=/var/lib/stockpot/registry"]
