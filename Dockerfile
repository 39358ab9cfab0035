# The image of Sluice: docs/container.md says how it is built and run.
# The distribution is named beside Node's version, so that both change only when this line does. The native Kafka client
# has prebuilt binaries for Node 20 to 24.
ARG NODE_IMAGE=docker.io/library/node:24-bookworm-slim

# All dependencies and the native Kafka client: downloaded, or built where the download is blocked, as scripts/setup.mjs
# does everywhere. Only then it installs compilers and development files, and only in this stage. What is needed of the
# client at run time it keeps under XDG_CACHE_HOME.
FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
COPY scripts/setup.mjs scripts/lib-setup.mjs scripts/
RUN --mount=type=cache,target=/root/.npm \
    XDG_CACHE_HOME=/kept node --input-type=module -e "import { main, setup } from '/app/scripts/setup.mjs'; await main(setup)"

FROM dependencies AS build
COPY tsconfig.json tsconfig.build.json ./
COPY src src
COPY plugins plugins
COPY routes routes
RUN npm run build && rm -f dist/.tsbuildinfo
COPY --chmod=644 test/container/smoke.mjs /smoke/

# Production's dependencies. Of the native client go its sources and what a build leaves, 270 MB; the licences stay. What
# it is linked with depends on whether it was downloaded or built, so the packages of its libraries are looked up here.
FROM dependencies AS production
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
 && cd node_modules/@confluentinc/kafka-javascript \
 && cp deps/librdkafka/LICENSES.txt LICENSES.librdkafka.txt \
 && rm -rf build deps src \
 && cp -r /kept/sluice/kafka-javascript-* build \
 && find build -type f -exec ldd '{}' ';' \
    | awk '$2 == "=>" && $3 ~ "^/(usr/)?lib/" { sub("^/usr", "", $3); print $3; print "/usr" $3 }' \
    | xargs dpkg-query --search 2> /dev/null | cut -d: -f1 | sort -u > /kept/packages

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="An HTTP gateway for Apache Kafka" \
      org.opencontainers.image.licenses="MIT"

# The client's libraries, and whom TLS trusts. npm and yarn are not needed to run, so they need no updates here either.
COPY --from=production /kept/packages /tmp/packages
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates $(cat /tmp/packages) \
 && rm -rf /tmp/packages /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
           /usr/local/lib/node_modules /opt/yarn-* \
           /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn /usr/local/bin/yarnpkg

# The modes are set for checkouts whose files only their owner may read: here that is root.
WORKDIR /app
COPY --chmod=644 package.json LICENSE ./
COPY --from=production /app/node_modules node_modules
COPY --from=build /app/dist dist

# Each Kafka client that waits holds a thread of libuv's pool, whose size is read before any JavaScript runs.
# HOST is reachable from outside, so the start is refused without AUTH: whoever runs the image says what it shall be.
ENV NODE_ENV=production HOST=0.0.0.0 UV_THREADPOOL_SIZE=16

# The user `node`, by its number: Kubernetes can then see that it is not root.
USER 1000:1000

# The image is refused if the server, as it is here and as this user, cannot start, carry a record and stop.
RUN --mount=type=bind,from=build,source=/smoke,target=/smoke node /smoke/smoke.mjs

EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "require(process.env.TLS_CERT_FILE ? 'node:https' : 'node:http').get({ host: '127.0.0.1', port: process.env.PORT || 3000, path: '/healthz', rejectUnauthorized: false }, ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
CMD ["node", "--enable-source-maps", "dist/src/server.js"]
