# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
HOST ?= 127.0.0.1
PORT ?= 7860

.PHONY: run help test test-slow torture fuzz lint lint-js format install bench bench-gpu bench-ui bench-people train-demo train-toybox train-pays train-words train-words-full train-judges recordings results assets browser clean

run: .venv/.installed
	$(PY) -m app --host $(HOST) --port $(PORT)

help:
	@echo "    make run         # the app on a shipped network: http://$(HOST):$(PORT)"
	@grep '^    make ' CONTRIBUTING.md

install: .venv/.installed .venv/.installed-dev

.venv/.installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The browser tests drive Debian's chromium; where it cannot be installed they are skipped with a reason (in CI: fail).
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
		|| echo "chromium is missing and could not be installed: browser tests will say so."

# Two processes: the tests that start the app or a browser, one after the other, beside all the rest; in the order of
# tests/conftest.py.
test: install browser
	$(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test-slow: install browser
	$(PY) -m pytest -m slow

# The trainer killed at 50 random moments, many of them in the middle of a write: the weights must not know.
torture: install
	$(PY) tests/torture.py --kills 50

# Ten thousand crafted calls to all that a stranger can reach: any traceback of ours, or any 500, is a failure.
fuzz: install
	$(PY) tests/fuzz --calls 10000

lint: install lint-js
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ruff check --ignore UP --target-version py312 .
	.venv/bin/ruff check --ignore UP --target-version py313 .

format: install
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory tools/js/node_modules/.installed \
		&& $(PRETTIER) --write $(SCRIPTS) && $(ESLINT) --fix; fi

# The page's modules: ESLint and Prettier in the versions of tools/js/package-lock.json; the app itself needs no node.
JS := tools/js/node_modules/.bin
SCRIPTS := "app/**/*.js" tools/js/eslint.config.js
PRETTIER := $(JS)/prettier --config tools/js/prettier.json --log-level warn
ESLINT := $(JS)/eslint --config tools/js/eslint.config.js --max-warnings 0 app

tools/js/node_modules/.installed: tools/js/package-lock.json
	cd tools/js && npm ci --no-audit --no-fund --silent
	touch $@

lint-js:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory tools/js/node_modules/.installed \
		&& $(PRETTIER) --check $(SCRIPTS) && $(ESLINT); \
	elif [ -n "$$CI" ]; then echo "node and npm are missing: the page's scripts cannot be checked." >&2; exit 1; \
	else echo "node and npm are missing: the page's scripts are not checked."; fi

# make bench AGAINST=COMMIT: also the samplers of another version, same weights and noise, in turns.
bench: install
	$(PY) -m pf_core bench
	$(if $(AGAINST),$(PY) tests/bench_against.py $(AGAINST))

# On a machine with a GPU, in less than six minutes: XL/2 in bf16, every sampler, plain, compiled, cached; its numbers
# in docs/bench-gpu.json. SIZE, IMAGES, STEPS: another network, batch, length.
SIZE ?= XL/2
IMAGES ?= 16
STEPS ?= 50
bench-gpu: install
	$(PY) tests/bench_gpu.py --size $(SIZE) --images $(IMAGES) --steps $(STEPS)

bench-people: install browser
	$(PY) tests/bench_people.py

bench-ui: install browser
	$(PY) tests/bench_ui.py

# How the shipped networks were trained, one after the other: hours on two cores. They end in runs/, not in checkpoints/.
TRAIN := $(PY) -m pf_core train --dataset shapes --model tiny --steps 7000 --precision bf16 --compile --threads 1
train-demo: install
	$(TRAIN) --timesteps ltg --out runs/shapes-pft
	$(TRAIN) --timesteps uniform --no-difficulty --out runs/shapes-sit
	$(PY) -m pf_core judge --out runs/judge.safetensors

# The networks of toybox, one after the other, equal but for what is compared: the same images in the same order, size,
# steps, seed. On a GPU where there is one. Made again, it goes on from the last save, and leaves alone what has ended.
# INIT_PFT, INIT_SIT: weights to start from; MORE: other flags, such as MORE="--nice 10 --threads 1". What is shipped as
# toybox-pft, -wide and -sit is of step 4375, the two -late of the last: python -m pf_core snapshot RUN --step 4375 --out FILE.
TOYBOX := $(PY) -m pf_core train --dataset toybox --variety 0.5 --patch-size 4 --depth 4 --hidden-size 128 --num-heads 2 --pixel-scale 0.5 \
	--precision bf16 --compile --steps 9375 --ema 0.9995 --decay 0.15 --weights-every 625
INIT_PFT ?=
INIT_SIT ?=
MORE ?=
begun = $$(test -f $(1)/config.json && echo --resume) --out $(1)
PFT := --timesteps ltg --scale 0.5
PLAIN := --timesteps uniform --no-difficulty
# $(call trained,COMMAND,FOLDER): begun or gone on with; what follows waits until it has ended.
define trained
	$(1) $(MORE) $(call begun,$(2))
	@grep -q '"finished"' $(2)/status.json || { echo "$(2) has not ended yet: make $@ goes on with it." >&2; exit 1; }
endef
train-toybox: install
	$(call trained,$(TOYBOX) $(PFT) $(if $(INIT_PFT),--init $(INIT_PFT)),runs/toybox-pft)
	$(call trained,$(TOYBOX) $(PLAIN) $(if $(INIT_SIT),--init $(INIT_SIT)),runs/toybox-sit)
	$(call trained,$(TOYBOX) --timesteps ltg,runs/toybox-pft-wide)

# The small trainings of `study when_it_pays` (docs/RESULTS.md): 64 patches, 100,032 images each, those of a data set alike
# but for what their names say. Hours of one core; then study when_it_pays --runs runs/pays --guided false --fast --out D.
# toybox's are as wide as its patches of 8 pixels have numbers, 192.
PAYS := $(PY) -m pf_core train --model tiny --num-heads 2 --timesteps ltg --steps 1563 --precision bf16 --compile \
	--ema 0.995 --decay 0.3 --samples-every 0 --validate-every 1563
WILD := --dataset shapes --variety 1 --hidden-size 128
TOYS64 := --dataset toybox --variety 0.5 --patch-size 8 --pixel-scale 0.5 --hidden-size 192
ALONG := --depth 4 --weights-every 391 --compass-every 391
train-pays: install
	$(call trained,$(PAYS) $(WILD) $(ALONG),runs/pays/shapes-depth-4)
	$(call trained,$(PAYS) $(WILD) --depth 1,runs/pays/shapes-depth-1)
	$(call trained,$(PAYS) $(WILD) --depth 2,runs/pays/shapes-depth-2)
	$(call trained,$(PAYS) $(WILD) --depth 8,runs/pays/shapes-depth-8)
	$(call trained,$(PAYS) $(WILD) --depth 4 --label-dropout 1,runs/pays/shapes-no-labels)
	$(call trained,$(PAYS) $(WILD) --depth 4 --patch-size 2 --weights-every 391 --compass-every 1563,runs/pays/shapes-256-patches)
	$(call trained,$(PAYS) $(TOYS64) $(ALONG),runs/pays/toybox-depth-4)
	$(call trained,$(PAYS) $(TOYS64) --depth 1,runs/pays/toybox-depth-1)
	$(call trained,$(PAYS) $(TOYS64) --depth 2,runs/pays/toybox-depth-2)
	$(call trained,$(PAYS) $(TOYS64) --depth 8,runs/pays/toybox-depth-8)
	$(call trained,$(PAYS) $(TOYS64) --depth 4 --label-dropout 1,runs/pays/toybox-no-labels)
	$(call trained,$(PAYS) $(TOYS64) --depth 4 --dependence 0,runs/pays/toybox-dependence-0)

# The pairs that draw prompts, trained alike: Patch Forcing and flow matching. Signs learn single characters first, then
# words, and go on twice: what is shipped as signs-pft and signs-fm are runs/signs-*-longest (docs/RECIPE.md). Scenes begin
# with toybox's networks. Some fourteen hours of one core. Made again, it goes on from the last save, and leaves alone what has ended.
WORDS := $(PY) -m pf_core train --condition text --model tiny --patch-size 4 --depth 4 --hidden-size 128 --num-heads 2 --pixel-scale 0.5 \
	--precision bf16 --compile --ema 0.998
LETTERS := $(WORDS) --dataset signs --variety 0 --longest 1 --steps 1000 --decay 0
SIGNS := $(WORDS) --dataset signs --variety 0 --steps 4000 --decay 0.3
LONGER := $(WORDS) --dataset signs --variety 0 --steps 5500 --decay 0.3
LONGEST := $(LONGER) --seed 1
SCENES := $(WORDS) --dataset toybox --toys 3 --captioned true --variety 0.3 --steps 2500 --decay 0.3
train-words: install
	$(call trained,$(LETTERS) $(PFT),runs/letters-pft)
	$(call trained,$(SIGNS) $(PFT) --init runs/letters-pft/network.safetensors,runs/signs-pft)
	$(call trained,$(LONGER) $(PFT) --init runs/signs-pft/network.safetensors,runs/signs-pft-longer)
	$(call trained,$(LONGEST) $(PFT) --init runs/signs-pft-longer/network.safetensors,runs/signs-pft-longest)
	$(call trained,$(LETTERS) $(PLAIN),runs/letters-fm)
	$(call trained,$(SIGNS) $(PLAIN) --init runs/letters-fm/network.safetensors,runs/signs-fm)
	$(call trained,$(LONGER) $(PLAIN) --init runs/signs-fm/network.safetensors,runs/signs-fm-longer)
	$(call trained,$(LONGEST) $(PLAIN) --init runs/signs-fm-longer/network.safetensors,runs/signs-fm-longest)
	$(call trained,$(SCENES) $(PFT) --init toybox-pft,runs/scenes-pft)
	$(call trained,$(SCENES) $(PLAIN) --init toybox-sit,runs/scenes-fm)

# Both pairs on all of the data, for a machine with a GPU (nobody has measured them): signs of one to six characters, all
# kinds and fonts; scenes of any camera, pose and texture. FULL: batch, length, or a smaller network.
FULL ?= --batch-size 256 --steps 40000
EVERY := $(PY) -m pf_core train --condition text --model tiny --patch-size 4 --depth 8 --hidden-size 256 --num-heads 4 --pixel-scale 0.5 \
	--precision bf16 --compile --ema 0.999 --decay 0.3 $(FULL)
EVERY_SIGN := $(EVERY) --dataset signs --variety 1
EVERY_SCENE := $(EVERY) --dataset toybox --toys 3 --captioned true --variety 1
train-words-full: install
	$(call trained,$(EVERY_SIGN) $(PFT),runs/full/signs-pft)
	$(call trained,$(EVERY_SIGN) $(PLAIN),runs/full/signs-fm)
	$(call trained,$(EVERY_SCENE) $(PFT),runs/full/scenes-pft)
	$(call trained,$(EVERY_SCENE) $(PLAIN),runs/full/scenes-fm)

# The judges that read signs and scenes again, on real pictures: an hour and a half of a shared core. They end in runs/judges.
JUDGE := $(PY) -m pf_core judge --bf16
train-judges: install
	$(JUDGE) --dataset signs --kind reader --whole variety --steps 1800 --distinct 32000 --out runs/judges/signs-reader.safetensors
	$(JUDGE) --dataset toybox --kind scenes --toys 3 --captioned true --whole variety,dependence --steps 3600 --distinct 32000 \
		--out runs/judges/toybox-scenes.safetensors

# What the page shows first, again: three runs from the same noise by the network that it opens with (PFT in
# pf_core/presets.py), or by another: make recordings STORY="--checkpoint NAME --label a,b,c,d --seeds 1,2,3,4".
STORY ?=
recordings: install
	$(PY) -m pf_core record $(STORY)

# Every study on shipped networks, kept in assets/results and shown in docs/RESULTS.md and the Evidence tab. Stopped, it
# goes on where it was. make results NETWORKS=shapes-sit: of another one; STUDY=--quick: few images; STUDY=--fast: bf16
# and compiled, in less than half of the time.
NETWORKS ?= toybox-pft toybox-sit shapes-pft shapes-sit signs-pft scenes-pft
STUDY ?=
results: install
	set -e; for network in $(NETWORKS); do \
		$(PY) -m pf_core study all --checkpoint $$network $(STUDY) --out runs/results/$$network; \
		$(PY) -m pf_core results runs/results/$$network; done

# The pictures and recordings of the shipped networks, again: sheets of 100 among them.
SAMPLE := $(PY) -m pf_core sample --nfe 64
TEN := circle,square,triangle,diamond,star,heart,cross,ring,crescent,arrow
HUNDRED := $(TEN),$(TEN),$(TEN),$(TEN),$(TEN),$(TEN),$(TEN),$(TEN),$(TEN),$(TEN)
TWELVE := snowman,sledge,boat,duck,car,cone,tree,house,mushroom,cake,gift,lamp
TOYS := $(TWELVE),$(TWELVE),$(TWELVE),$(TWELVE),$(TWELVE),$(TWELVE),$(TWELVE),$(TWELVE),snowman,sledge,boat,duck
FILM := mushroom,boat --seeds 8,2
assets: install recordings
	$(SAMPLE) --checkpoint toybox-pft --sampler look_ahead --cfg-scale 2 --label $(TOYS) --seeds 0-99 --sheet --out assets/toybox-pft-sheet.png
	$(SAMPLE) --checkpoint toybox-sit --sampler euler --cfg-scale 2 --label $(TOYS) --seeds 0-99 --sheet --out assets/toybox-sit-sheet.png
	$(SAMPLE) --checkpoint toybox-pft --sampler look_ahead --cfg-scale 2 --label $(FILM) --out assets/look-ahead.webp
	$(SAMPLE) --checkpoint shapes-pft --sampler look_ahead --label $(HUNDRED) --seeds 0-99 --sheet --out assets/shapes-pft-sheet.png
	$(SAMPLE) --checkpoint shapes-sit --sampler euler --label $(HUNDRED) --seeds 0-99 --sheet --out assets/shapes-sit-sheet.png
	$(foreach NET,scenes-pft scenes-fm signs-pft signs-fm,$(call again,assets/$(NET)-sheet.png))
# A sheet of prompts from the recipe that it carries.
define again
$(PY) -m pf_core sample --recipe $(1) --sheet --out $(1)

endef

clean:
	rm -rf .venv .pytest_cache .ruff_cache tools/js/node_modules
