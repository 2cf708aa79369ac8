#!/bin/sh
# The linker as rustc calls it for the eBPF programs: bpf-linker ($BPF_LINKER), which sees the same file names, the same
# working folder and the same environment wherever the checkout is. LLVM orders some of the BTF types by where they
# happen to lie in memory, and longer names would move them.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

number=0
argument_of=
for argument; do
    shift
    case $argument_of in
    -o) output=$argument argument=output ;;
    -L) argument=. ;;
    *)
        if [ -f "$argument" ]; then
            number=$((number + 1))
            case $argument in
            *.*) name=$(printf 'input%03d.%s' $number "${argument##*.}") ;;
            *) name=$(printf 'input%03d' $number) ;;
            esac
            ln -s "$(realpath "$argument")" "$work/$name"
            argument=$name
        fi
        ;;
    esac
    argument_of=$argument
    set -- "$@" "$argument"
done

(cd "$work" && env -i "$BPF_LINKER" "$@")
mv "$work/output" "$output"
