# The app in a container, for one machine or a hosted Gradio space: docs/DEPLOY.md.
FROM python:3.11-slim

# a compiler for --compile; nothing else of the system is needed
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

# a space runs as user 1000, who must be able to write runs and temporary files
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app

# torch without CUDA; for a GPU: --build-arg TORCH=https://pypi.org/simple
ARG TORCH=https://download.pytorch.org/whl/cpu
COPY requirements.txt requirements-extra.txt ./
RUN pip install --no-cache-dir --extra-index-url "$TORCH" -r requirements.txt

COPY --chown=user . .
RUN mkdir -p runs data && chown user runs data
USER user
ENV HOME=/home/user GRADIO_TEMP_DIR=/tmp/gradio PYTHONUNBUFFERED=1

EXPOSE 7860
# a host that others can reach prints an address with a token; further flags follow the image's name in `docker run`
ENTRYPOINT ["python", "-m", "app", "--host", "0.0.0.0", "--port", "7860"]
