# SPDX-License-Identifier: GPL-2.0-only
"""Rules and tables are read strictly in meaning, and a migration between two calls that tables know needs nothing
else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate import scan as scans
from dmamigrate.errors import RuleError
from tests.conftest import rewritten

TABLES = rules.tables()
HEAD = 'title = "one"\nlevel = "note"\ncategory = "defect"\nexplain = "why"\n'
GOOD = (
    HEAD
    + 'callee = ["dma_map_phys"]\nmessage = "msg"\n'
    + 'rewrite = """\n- dma_map_phys(dev, phys, size, dir, attrs)\n'
    + '+ dma_map_resource(dev, phys, size, dir, attrs)\n"""\n'
)
NEW = "+ dma_map_resource(dev, phys, size, dir, attrs)"


def _folder(where: Path, **texts: str) -> Path:
    for name, text in texts.items():
        file = where / f"{name.replace('__', '/')}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return where


def test_a_rule_that_means_something_is_taken(tmp_path: Path) -> None:
    (rule,) = rules.load(_folder(tmp_path, migrate__odd=GOOD), known=TABLES.api)
    assert rule.id == "odd"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(GOOD.replace('["dma_map_phys"]', '["x"]'), "knows x()", id="a call that no table knows"),
        pytest.param(
            GOOD + 'origins = ["ram"]\nargument = "page"\n', "no argument 'page'", id="an argument of another call"
        ),
        pytest.param(GOOD + 'lacks = "DMA_ATTR_MIMO"\n', "'DMA_ATTR_MIMO'", id="an attribute that does not exist"),
        pytest.param(GOOD.replace("msg", "msg {phyz}"), "names {phyz}", id="a placeholder that nothing fills"),
        pytest.param(
            GOOD.replace("- dma_map_phys(dev, phys", "- dma_map_phys(dev, addr"), "is written with", id="other roles"
        ),
        pytest.param(
            GOOD.replace(NEW, "+ dma_map_resource(dev, phys, size, dir)"), "takes 5 arguments", id="one too few"
        ),
        pytest.param(
            GOOD.replace(NEW, NEW.replace("phys", "phyz")), "'phyz' is no argument", id="a role of the old call's own"
        ),
        pytest.param(
            GOOD.replace(NEW, NEW.replace("resource", "resuorce")), "dma_map_resuorce()", id="a new call nobody knows"
        ),
    ],
)
def test_a_rule_that_means_nothing_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RuleError) as error:
        rules.load(_folder(tmp_path, migrate__odd=text), known=TABLES.api)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


API = """

[[family]]
name = "acme"
migrates = true

[[call]]
name = ["acme_window_map"]
role = "map"
family = "acme"
arguments = ["dev", "phys", "size", "dir"]
evidence = "vendor/window.c: acme_window_map()"

[[call]]
name = ["acme_window_unmap"]
role = "unmap"
family = "acme"
arguments = ["dev", "addr", "size", "dir"]
evidence = "vendor/window.c: acme_window_unmap()"

[[call]]
name = ["acme_map"]
role = "map"
family = "acme"
arguments = ["size", "dev", "phys", "value"]
evidence = "vendor/window.c: acme_map()"

[[call]]
name = ["acme_unmap"]
role = "unmap"
family = "acme"
arguments = ["dev", "addr", "value"]
evidence = "vendor/window.c: acme_unmap()"
"""
SOURCE = """

[[source]]
call = ["acme_window_map", "acme_map"]
origin = ["dma-addr"]
evidence = "vendor/window.c: returns the device's address of the window"
"""
MIGRATION = '''
title = "acme_window_map() that is acme_map() now"
level = "warning"
category = "migration"
callee = ["acme_window_map"]
message = "acme_map() takes the size first, and flags"
explain = "The old name goes away."
moves_memory = true
rewrite = """
- acme_window_map(dev, phys, size, dir)
+ acme_map(size, dev, phys + 0, ACME_CACHED)

- acme_window_unmap(dev, addr, size, dir)
+ acme_unmap(dev, addr, ACME_CACHED)
"""
'''
DRIVER = """
struct win { struct device *dev; dma_addr_t at; };

int win_open(struct win *w, phys_addr_t where)
{
\tw->at = acme_window_map(w->dev, where, 64, DMA_TO_DEVICE);
\treturn 0;
}

void win_close(struct win *w)
{
\tacme_window_unmap(w->dev, w->at, 64, DMA_TO_DEVICE);
}
"""


def test_a_migration_between_two_calls_of_a_vendor_needs_tables_only(tmp_path: Path) -> None:
    more = _folder(tmp_path / "rules", api__acme=API, sources__acme=SOURCE, **{"migrate__acme-window": MIGRATION})
    source = tmp_path / "src"
    source.mkdir()
    (source / "driver.c").write_text(DRIVER)
    known = rules.tables((more,))
    asked = rules.select(rules.load(more=(more,), known=known.api), ("acme-window",), ())
    report = scans.scan(scans.Options((source,), asked, known, tree=source, target="7.3"))
    (found,) = report.findings
    assert (found.rule, found.span.line, found.rewrite.status) == ("acme-window", 6, "proposed")
    assert (found.verdict.status, found.verdict.reason) == ("unknown", "the model has no acme_window_map()")
    changed = rewritten(report, source)["driver.c"].decode()
    assert "w->at = acme_map(64, w->dev, where, ACME_CACHED);" in changed
    assert "\tacme_unmap(w->dev, w->at, ACME_CACHED);" in changed
