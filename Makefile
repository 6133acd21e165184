# For those who have make: each target is one command that also works without it.

.PHONY: run test data format lint

run:
	@scripts/run

test:
	@scripts/test

# make data DATA=DIRECTORY: experiments name data sets as data/..., a link to wherever they are kept.
data:
	@test -d "$(DATA)" || { echo "make data: DATA=DIRECTORY must name a directory of data sets" >&2; exit 2; }
	@test -L data || test ! -e data || { echo "make data: data exists and is not a link" >&2; exit 2; }
	@ln -sfn "$$(cd "$(DATA)" && pwd)" data

format:
	@scripts/format

lint:
	@scripts/format --check
