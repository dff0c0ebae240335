# Hải Đăng. `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Where nodejs comes with its own npm, Debian's would take it away.
NPM := $(shell command -v npm >/dev/null || echo nodejs npm)

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml requirements/developer.txt tools/setup.sh
	@sh tools/setup.sh $(PYTHON)

setup: $(INSTALLED)  ## make the virtual environment

up: $(INSTALLED)  ## run it all here: collector, agent, Prometheus, Alertmanager (Ctrl-C stops it)
	@sh tools/packages.sh prometheus prometheus-alertmanager fonts-dejavu-core
	@$(BIN)/python tools/up.py

# libatomic1: Playwright's own node wants it.
# Three at once on two cores: most of them wait most of the time.
test: $(INSTALLED)  ## every test
	@sh tools/packages.sh prometheus prometheus-alertmanager iproute2 libfaketime faketime snmpd snmp lldpd ethtool nftables bird2 iputils-ping fonts-dejavu-core chromium libatomic1 curl wget openssh-client debootstrap systemd-container $(NPM)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not alone"
	@$(BIN)/python -m pytest -m alone

check: lint  ## what a developer asks often: style, types, rooms, units, rules (three minutes)
	@sh tools/packages.sh prometheus prometheus-alertmanager libfaketime faketime
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/unit tests/rules

lint: $(INSTALLED)  ## style, types, import contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@cd ansible && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/ansible-lint --offline -q
	@$(BIN)/lint-imports

docs: $(INSTALLED)  ## write the generated references anew
	@$(BIN)/python tools/references.py
	@$(BIN)/python -m tools.runbooks

dashboards: $(INSTALLED)  ## build Grafana's dashboards anew
	@$(BIN)/python -m dashboards

fuzz: $(INSTALLED)  ## broken deliveries into a collector, for SECONDS (an hour)
	@HAIDANG_FUZZ_SECONDS=$(or $(SECONDS),3600) $(BIN)/python -m pytest -q tests/fuzz

lock: $(INSTALLED)  ## name the newest versions of everything that is installed, with their hashes
	@$(BIN)/python tools/lock.py

bundle: $(INSTALLED)  ## dist/: what machines without internet install from
	@$(BIN)/python tools/bundle.py

lab: $(INSTALLED)  ## a province of real machines, installed by Ansible, and a shell to break it with (as root)
	@sh tools/packages.sh debootstrap systemd-container iproute2 nftables openssh-client
	@$(BIN)/python -m tests.lab

bench: $(INSTALLED)  ## us and the named peers, in turn, as ratios
	@sh tools/packages.sh prometheus-node-exporter zabbix-agent2 prometheus-pushgateway victoria-metrics prometheus-snmp-exporter snmpd snmp snmptrapd fping smokeping prometheus-blackbox-exporter fusioninventory-agent
	@$(BIN)/python bench/run.py

clean:  ## remove the virtual environment and the state of `make up`
	rm -rf .venv .state

.PHONY: help setup up test check lint docs dashboards fuzz lock bundle lab bench clean
