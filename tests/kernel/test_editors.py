# SPDX-License-Identifier: GPL-2.0-only
"""What real editors make of --format gcc: each finding with its place, its level and its message."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_cli import run

pytestmark = pytest.mark.kernel
FIXTURES = ROOT / "fixtures"


@pytest.mark.skipif(shutil.which("vim") is None, reason="NO VIM: apt-get install vim")
def test_vim_jumps_to_each_finding_with_its_message(tmp_path: Path) -> None:
    found = run("scan", FIXTURES / "origin/parameter/before", "--format", "gcc", cwd=ROOT).stdout
    (tmp_path / "found").write_text(found)
    script = f"cgetfile {tmp_path}/found | call writefile([json_encode(getqflist())], '{tmp_path}/list') | qall!"
    subprocess.run(["vim", "-u", "NONE", "-N", "-es", "-c", script], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    entries = json.loads((tmp_path / "list").read_text())
    lines = found.splitlines()
    assert len(entries) == len(lines) > 0
    for entry, line in zip(entries, lines, strict=True):
        _, row, column, rest = line.split(":", 3)
        assert (entry["valid"], entry["lnum"], entry["col"]) == (1, int(row), int(column))
        assert rest.endswith(entry["text"].strip())
        assert "[map-resource" in entry["text"]


EMACS = """
(with-current-buffer (find-file-noselect "{found}")
  (setq default-directory "{root}/")
  (compilation-mode)
  (compilation--ensure-parse (point-max))
  (goto-char (point-min))
  (while (not (eobp))
    (let ((seen (get-text-property (point) 'compilation-message)))
      (when seen
        (let ((place (compilation--message->loc seen)))
          (princ (format "%s:%s:%s:%s\\n" (caar (compilation--loc->file-struct place)) (compilation--loc->line place)
                         (compilation--loc->col place) (compilation--message->type seen))))))
    (forward-line 1))
  (goto-char (point-min))
  (compilation-next-error 0)
  (compile-goto-error))
(princ (format "%s:%d" (buffer-file-name (window-buffer))
               (with-current-buffer (window-buffer) (line-number-at-pos))))
"""
# what compilation-mode calls an error, a warning and a note
EMACS_TYPES = {"error": "2", "warning": "1", "note": "0"}


@pytest.mark.skipif(shutil.which("emacs") is None, reason="NO EMACS: apt-get install emacs-nox")
def test_emacs_knows_each_finding_and_jumps_to_it(tmp_path: Path) -> None:
    found = run("scan", FIXTURES / "origin/parameter/before", "--format", "gcc", cwd=ROOT).stdout
    (tmp_path / "found").write_text(found)
    (tmp_path / "jump.el").write_text(EMACS.format(found=tmp_path / "found", root=ROOT))
    command = ["emacs", "-Q", "--batch", "-l", str(tmp_path / "jump.el")]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    split = [line.split(":", 4) for line in found.splitlines()]
    assert said[:-1] == [f"{path}:{row}:{column}:{EMACS_TYPES[kind.strip()]}" for path, row, column, kind, _ in split]
    assert said[-1] == f"{ROOT / split[0][0]}:{split[0][1]}"
