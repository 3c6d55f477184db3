# For trying things out, and for tests, without a GPU.
#
#   docker build -f docker/cpu.Dockerfile -t raystudy:cpu .
#   docker run --rm --shm-size=4g raystudy:cpu python experiments/schedule_length.py --preset smoke
#
# The CPU builds of torch have the same versions and lack 3 GB of CUDA.
FROM python:3.11-slim-bookworm
RUN useradd --create-home ray
USER ray
ENV PATH=/home/ray/.local/bin:$PATH OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/ray/raystudy
COPY --chown=ray . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt -e ".[aws]"
