# For GPU machines and Kubernetes: Ray's own image, with raystudy and the tested versions of everything.
#
#   docker build -f docker/cuda.Dockerfile -t raystudy:cuda .
#   docker run --rm --gpus all --shm-size=32g raystudy:cuda python experiments/schedule_length.py --preset demo --device cuda
#
# torch brings its own CUDA; of the machine it needs the driver and NVIDIA's container toolkit.
FROM rayproject/ray:2.60.0-py311-gpu
WORKDIR /home/ray/raystudy
COPY --chown=ray . .
RUN pip install --no-cache-dir -c constraints.txt -e ".[aws]"
ENV OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
