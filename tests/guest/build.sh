#!/bin/sh
# Build every system test guest: build.sh OUTDIR leaves OUTDIR/<directory>-<name>.elf.
#
# Each directory beside this file holds one image per .c file, linked with what its lib/ holds:
#   lib/*.S lib/*.c   the objects that every image of the directory shares
#   lib/link.ld       the link script; its OUTPUT_FORMAT says whether the code is 32 or 64-bit
# NAME.disk.S beside NAME.c is the content of a disk for that image: it becomes
# OUTDIR/<directory>-NAME.disk. A header-only directory (common) has no lib/ and makes no image. Multiboot 1 loads ELF32 only,
# so an image linked as ELF64 is rewrapped. Needs gcc and binutils alone.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
cc=${CC:-gcc}

common="-std=gnu17 -ffreestanding -fno-pic -fno-pie -nostdlib -O1 -mgeneral-regs-only
	-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
	-Wall -Wextra -Wshadow -Wno-override-init -I common"
link="-nostdlib -static -no-pie -Wl,--build-id=none,-z,max-page-size=0x1000,-z,noexecstack
	-Wl,--no-warn-rwx-segments"

for dir in */; do
	dir=${dir%/}
	[ -f "$dir/lib/link.ld" ] || continue
	bits=-m32
	! grep -q 'OUTPUT_FORMAT.*elf64' "$dir/lib/link.ld" || bits="-m64 -mno-red-zone"
	obj=$out/obj-$dir
	rm -rf "$obj"
	mkdir -p "$obj"
	for source in "$dir"/lib/*.[cS]; do
		[ -f "$source" ] || continue
		$cc $common $bits -I "$dir/lib" -c "$source" -o "$obj/lib-${source##*/}.o"
	done
	for source in "$dir"/*.c; do
		[ -f "$source" ] || continue
		name=${source##*/}
		name=$dir-${name%.c}
		$cc $common $bits -I "$dir/lib" -c "$source" -o "$obj/$name.o"
		$cc $bits $link -T "$dir/lib/link.ld" -o "$out/$name.elf" "$obj/$name.o" \
			"$obj"/lib-*.o
		# The fifth byte of an ELF file is its class.
		case $(od -An -tu1 -j4 -N1 "$out/$name.elf") in
		*2) objcopy -I elf64-x86-64 -O elf32-i386 "$out/$name.elf" ;;
		esac
	done
	for source in "$dir"/*.disk.S; do
		[ -f "$source" ] || continue
		name=${source##*/}
		name=$dir-${name%.S}
		$cc $bits -c "$source" -o "$obj/$name.o"
		objcopy -O binary -j .text "$obj/$name.o" "$out/$name"
	done
done
