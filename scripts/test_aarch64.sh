#!/usr/bin/env bash
# Test the kernels on aarch64: cross-compiled, run under emulation. The NEON file must equal the scalar one bit for bit.
#
# usage: scripts/test_aarch64.sh
#
# Needs a compiler with its library's source (Debian: rustc-web cargo-web rust-web-src), qemu-aarch64-static (Debian:
# qemu-user-static), and the Python environment of scripts/setup_python.sh, into which it installs a linker.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${PROBADOR_CACHE:-$HOME/.cache/probador}
python=$cache/venv/bin/python
for program in /usr/bin/rustc qemu-aarch64-static "$python"; do
    command -v "$program" >/dev/null || {
        echo "error: \`$program\` is missing; the head of $0 says what to install" >&2
        exit 3
    }
done
"$python" -c "import ziglang" 2>/dev/null || "$python" -m pip install --quiet ziglang

mkdir -p target/aarch64
cat >target/aarch64/linker <<EOF
#!/usr/bin/env bash
# The compiler names the target in its own way; the linker has been told in its own.
arguments=()
for argument in "\$@"; do
    case \$argument in --target=*) ;; *) arguments+=("\$argument") ;; esac
done
exec "$python" -m ziglang cc -target aarch64-linux-musl "\${arguments[@]}"
EOF
printf '#!/bin/sh\nexec "%s" -m ziglang ar "$@"\n' "$python" >target/aarch64/archiver
chmod +x target/aarch64/linker target/aarch64/archiver

export RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc
export CC_aarch64_unknown_linux_musl=$PWD/target/aarch64/linker
export AR_aarch64_unknown_linux_musl=$PWD/target/aarch64/archiver
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=$PWD/target/aarch64/linker
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=qemu-aarch64-static
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-C link-self-contained=no"
/usr/share/cargo/bin/cargo test --release --target aarch64-unknown-linux-musl --target-dir target/aarch64 \
    -Zbuild-std=std,panic_unwind,test --package apr-tensor --lib --tests
