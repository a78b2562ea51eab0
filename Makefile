# Pogo's front door: `make help` lists what there is. The work is done by meson, ninja and the programs in tools/ and tests/.

# Which build: release, asan or ubsan. Each has a directory of its own.
MODE := release
# For `make run` and `make test`: the engine; for `make run`: how many CPUs; for `make run-kernel`: the kernel.
E := bt
K := cloud-amd64
CPUS := 1
# For `make test`: groups, or GROUP/PART-OF-A-NAME; see tests/run --help.
T := all
# For `make test-jit`: about ten minutes.
JIT_GENERATIONS := 10000
# For `make compare`: options of bench/compare.
A :=

B_release := build
B_asan := build-asan
B_ubsan := build-ubsan
O_asan := -Db_sanitize=address -Db_lundef=false
O_ubsan := -Db_sanitize=undefined -Db_lundef=false
B := $(B_$(MODE))
GUESTS := build/guests
MEDIA := build/media
# Non-empty if `make test` runs one of these groups.
wants = $(filter all $(1) $(addsuffix /%,all $(1)),$(T))
# A build with a sanitizer tests itself alone.
sanitize = $(if $(filter release,$(MODE)),$(call wants,sanitize))

ifeq ($(B),)
$(error MODE=$(MODE) is none of release, asan, ubsan)
endif

.PHONY: build run run-kernel test test-jit test-image check bench compare install clean distclean help setup-build setup-run setup-media setup-test setup-check \
	setup-bench guests media build-test
.SILENT:

build: setup-build
	tools/build $(B) $(O_$(MODE))

# Packages, as root; otherwise the command that installs them.
setup-build:
	tools/setup build
setup-run:
	tools/setup build run
setup-test:
	tools/setup build run test
setup-check:
	tools/setup build run test check
setup-bench:
	tools/setup build run bench

setup-media:
	tools/setup media

guests: setup-run
	tools/guests $(GUESTS)

# Disks, CDs and floppies with systems that boot through firmware.
media: setup-media
	tools/media --into $(MEDIA)

# The disk is a copy: what the guest writes stays, and tests find theirs as it was.
run: setup-run setup-media build
	tools/media --into $(MEDIA) debian-amd64.img
	test -f $(MEDIA)/run.img || cp --sparse=always $(MEDIA)/debian-amd64.img $(MEDIA)/run.img
	$(B)/pogo run --engine $(E) --memory 1G --cpus $(CPUS) --disk $(MEDIA)/run.img,format=raw

run-kernel: guests build
	test -f $(GUESTS)/run.img || cp $(GUESTS)/root.img $(GUESTS)/run.img
	$(B)/pogo run --engine $(E) --kernel $(GUESTS)/$(K)/vmlinuz --initrd $(GUESTS)/$(K)/initrd --append "console=ttyS0" \
		--memory 512M --cpus $(CPUS) --disk $(GUESTS)/run.img

build-test: setup-test
	$(if $(filter check,$(T)),tools/setup check)
	tools/build $(B) $(O_$(MODE))
	$(if $(call wants,cli guest lockstep)$(sanitize),tests/guest/build.sh build/guest)
	$(if $(call wants,boot lockstep),tools/guests $(GUESTS))
	$(if $(call wants,pc interp),tools/setup run media)
	$(if $(call wants,pc interp),tools/media --into $(MEDIA))
	$(if $(sanitize),tools/build $(B_asan) $(O_asan))
	$(if $(sanitize),tools/build $(B_ubsan) $(O_ubsan))

test: build-test
	tests/run --build $(B) --engine $(E) $(T)

# Ten minutes of a guest that writes code and runs it: the process must not grow.
test-jit: setup-test
	tools/build $(B) $(O_$(MODE))
	tests/guest/build.sh build/guest
	ENGINE=bt GENERATIONS=$(JIT_GENERATIONS) tests/cli/translator $(B)/pogo

# Images for long: 1,000 power cuts, 500 kills, each of the first 200 calls failing, for every kind of image; and each parser fuzzed for five
# minutes. The same kills and errors with a guest. Two hours.
test-image: setup-test
	tools/build $(B) $(O_$(MODE))
	tests/image/powercut $(B)
	tests/image/kill9 $(B)
	tests/image/faults $(B)
	tests/guest/build.sh build/guest
	tests/image/kill9-guest $(B)
	tests/image/faults-guest $(B)
	tests/image/vhd $(B)/pogo
	tests/image/qcow2 $(B)
	tests/fuzz/parsers
	tests/fuzz/devices

check: setup-check
	tools/check

bench: guests media build
	bench/run
	bench/firmware
	bench/disk

compare: setup-bench guests build
	bench/compare $(A)

install: build
	meson install -C $(B) --quiet

# What was downloaded stays; `make distclean` removes that too.
clean:
	rm -rf build-*
	test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name guests ! -name media -exec rm -rf {} +

distclean:
	rm -rf build build-*

help:
	echo "make            build Pogo: $(B)/pogo"
	echo "make run        boot Debian 12 from its disk to a login in this terminal  (CPUS=1  E=bt)"
	echo "make run-kernel boot a kernel alone to a shell  (K=cloud-amd64|amd64|686|686-pae  CPUS=1  E=bt)"
	echo "make test       run the tests  (T=\"GROUP GROUP/PART\", see tests/run --help;  E=bt)"
	echo "make media      make disks, CDs and floppies to boot from: $(MEDIA)"
	echo "make test-jit   ten minutes of a guest that goes on making code: the monitor must not grow"
	echo "make test-image power cuts, kills, failing calls, fuzzed parsers and devices, for long"
	echo "make check      layout, layers, headers, static analysis, second compiler"
	echo "make bench      measure"
	echo "make compare    native execution, qemu's TCG and Pogo on the same items  (A=\"OPTIONS\", see bench/compare --help)"
	echo "make install    install what was built  (DESTDIR=)"
	echo "make clean      remove what was built; distclean: and what was downloaded"
	echo "MODE=asan or MODE=ubsan with any of these uses a build with that sanitizer."
