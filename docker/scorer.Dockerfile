# The scorer: not root, read-only file system, one HTTP port. Build from the repository's root:
#   docker build -f docker/scorer.Dockerfile -t ullage-scorer .
FROM python:3.12-slim AS build
COPY docker/scorer.lock /build/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /build/scorer.lock

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/ullage --create-home ullage
COPY --from=build /venv /venv
COPY protocols/ullage_protocols /app/ullage_protocols
COPY models/ullage_models /app/ullage_models
COPY scorer/ullage_scorer /app/ullage_scorer
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/ullage
VOLUME /var/lib/ullage
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=3s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "ullage_scorer"]
CMD ["serve", "--database", "sqlite:////var/lib/ullage/scorer.db", "--http", "0.0.0.0:8080", "--broker", "broker:1883"]
