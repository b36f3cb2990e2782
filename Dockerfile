# One image for every role and for the operator's commands: `docker run … lockstream <verb>`.
FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Without pip of its own: what is copied below can install nothing.
RUN python -m venv --without-pip /opt/lockstream
COPY requirements/runtime.lock requirements/
RUN pip --python /opt/lockstream/bin/python install --no-deps --require-hashes -r requirements/runtime.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY command_api command_api
COPY projector projector
COPY fanout fanout
COPY eventlog eventlog
COPY read_model read_model
COPY runtime runtime
COPY operations operations
# What builds the project came with the lock, and has no business in the image.
RUN pip --python /opt/lockstream/bin/python install --no-deps --no-build-isolation . \
 && pip --python /opt/lockstream/bin/python uninstall --yes hatchling editables pathspec pluggy trove-classifiers

FROM python:3.12-slim
# Both folders are where volumes go; a new volume takes over who owns them.
RUN groupadd --gid 10001 lockstream \
 && useradd --uid 10001 --gid lockstream --home-dir /var/lib/lockstream --no-create-home --shell /usr/sbin/nologin lockstream \
 && install -d -o lockstream -g lockstream -m 0750 /var/lib/lockstream \
 && install -d -o lockstream -g lockstream -m 0755 /etc/lockstream
COPY --from=build /opt/lockstream /opt/lockstream
ENV PATH=/opt/lockstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOCKSTREAM_STATE_DIR=/var/lib/lockstream
USER lockstream
WORKDIR /var/lib/lockstream
ENTRYPOINT ["lockstream"]
