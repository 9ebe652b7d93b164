"""Time a newcomer's path, from `git clone` to a coreset of logs in an .npy file: python docs/newcomer.py

Runs what docs/quickstart.md says before "Another method", and nothing else, in a fresh clone.
"""

import doctest
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8").split("\n## Another method")[0]
script, python = [f"git clone --quiet {ROOT} tdds", "cd tdds"], ""
for language, block in re.findall(r"^```(bash|python)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE):
    if language == "bash":
        script.append(block)
    else:
        python += "".join(example.source for example in doctest.DocTestParser().get_examples(block))
        script.append(f"python - <<'END'\n{python}END\n")  # each with what came before, as at one prompt

with tempfile.TemporaryDirectory() as folder:
    began = time.perf_counter()
    subprocess.run(["bash", "-ec", "\n".join(script)], cwd=folder, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{time.perf_counter() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor time")
    print(*(Path(folder) / "tdds" / "kept.csv").read_text().splitlines()[:3], sep="\n")
