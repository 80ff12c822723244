"""Builds stand-ins for the CUDA libraries that Python's torch wants at import and that a CPU test never calls.

The PyPI wheel of torch links its Python module, through libtorch_cuda.so, against cuBLAS, cuDNN, NCCL and others: about
2 GB more to download. The Python tests run `transformers` on the CPU only, so each of these libraries is replaced by one that
has the names the wheel asks for and nothing behind them: a call ends the process. tests/python/torch_cpu.py loads them before
torch. The wheel itself is not changed, and a venv with torch's whole set of dependencies does not need this script.

usage: cuda_stand_ins.py TORCH_LIB_FOLDER OUTPUT_FOLDER
"""
import pathlib
import re
import subprocess
import sys
import tempfile

USERS = ["libtorch_python.so", "libtorch_cuda.so", "libtorch_nvshmem.so"]
# Library name without its version -> how its functions begin. Not among them: the CUDA runtime and CUPTI, which
# libtorch_cpu.so calls and which are really there.
REPLACED = {
    "libcublas": "cublas", "libcublasLt": "cublasLt", "libcudnn": "cudnn", "libcufft": "cufft", "libcufile": "cuFile",
    "libcurand": "curand", "libcusparse": "cusparse", "libcusparseLt": "cusparseLt", "libnccl": "nccl",
    "libnvshmem_host": "nvshmem",
}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library):
    """File names of the libraries that `library` is linked against."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", library))


def undefined(library):
    """(name, version or "") of the symbols that `library` takes from others."""
    for line in run("nm", "-D", "-P", "--undefined-only", library).splitlines():
        name, _, version = line.split()[0].partition("@")
        yield name, version.lstrip("@")


def version_nodes(library):
    """Version node -> file name of the library that must define it."""
    nodes, file = {}, ""
    for line in run("readelf", "-V", "-W", library).splitlines():
        if found := re.search(r"Version: \d+\s+File: (\S+)", line):
            file = found[1]
        elif found := re.search(r"Name: (\S+)\s+Flags:", line):
            nodes[found[1]] = file
    return nodes


def collect(folder):
    """File name -> version node ("" for none) -> function names."""
    wanted = {}
    for user in USERS:
        library = folder / user
        if not library.exists():
            continue
        files = [file for file in needed(library) if file.split(".")[0] in REPLACED]
        for file in files:
            wanted.setdefault(file, {})
        nodes = version_nodes(library)
        for name, version in undefined(library):
            if version:
                file = nodes.get(version, "")
            else:
                # The longest beginning wins: cublasLtMatmul is libcublasLt's.
                fitting = [f for f in files if name.startswith(REPLACED[f.split(".")[0]])]
                file = max(fitting, key=lambda f: len(REPLACED[f.split(".")[0]]), default="")
            if file in wanted:
                wanted[file].setdefault(version, set()).add(name)
    return wanted


def build(file, symbols, output):
    """Compiles output/file with the functions of `symbols` (version node -> names)."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "stand_in.c"
        names = sorted(set().union(*symbols.values())) if symbols else []
        source.write_text("".join(f"void {name}(void) {{ __builtin_trap(); }}\n" for name in names))
        options = []
        nodes = {version: sorted(members) for version, members in symbols.items() if version}
        if nodes:
            script = pathlib.Path(folder) / "versions"
            script.write_text("".join(f"{version} {{ global: {'; '.join(nodes[version])}; }};\n" for version in sorted(nodes)))
            options = [f"-Wl,--version-script={script}"]
        made = output / (file + ".new")
        run("cc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{file}", *options, "-o", str(made), str(source))
        made.rename(output / file)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    for file, symbols in sorted(collect(folder).items()):
        build(file, symbols, output)


if __name__ == "__main__":
    main()
