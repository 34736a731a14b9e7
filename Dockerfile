# docker build -t electra .
# GPUs: docker build --build-arg TENSORFLOW='tensorflow[and-cuda]' -t electra . ; docker run --gpus all ...
FROM python:3.12-slim
ARG TENSORFLOW=tensorflow
WORKDIR /electra
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt . "$TENSORFLOW"
WORKDIR /work
# docker run --rm -v "$PWD:/work" electra pretrain --data_dir data --model_name mine
ENTRYPOINT ["electra"]
