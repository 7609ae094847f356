// What the screenshots show: a small project that runs, and the workspaces around it.

export const WORKSPACES = [
  { name: 'seed-catalogue', template: 'python', description: 'The catalogue of the seed library', tags: ['web'] },
  { name: 'shop-front', template: 'node', description: 'Where members order', tags: ['web'] },
  { name: 'ledger', template: 'base', description: 'Accounts of the association', tags: ['kept'] },
  { name: 'harvest-figures', template: 'python', description: 'What grew where, year by year', tags: [] },
  { name: 'label-printer', template: 'base', description: '', tags: [] },
];

export const FILES = {
  'app.py': `"""The catalogue of the seed library, as a page."""

import csv
import html
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SEEDS = Path(__file__).with_name("data") / "seeds.csv"


def seeds() -> list[dict[str, str]]:
    with SEEDS.open(newline="") as rows:
        return sorted(csv.DictReader(rows), key=lambda seed: seed["name"])


def row(seed: dict[str, str]) -> str:
    cells = (html.escape(seed[key]) for key in ("name", "kind", "sow", "grams"))
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def page() -> str:
    style = Path(__file__).with_name("style.css").read_text()
    rows = "".join(row(seed) for seed in seeds())
    return f"""<!doctype html>
<title>Seed library</title>
<style>{style}</style>
<h1>Seed library</h1>
<p>{len(seeds())} sorts, kept dry and cool.</p>
<table>
<tr><th>Sort<th>Kind<th>Sow<th>Grams</tr>
{rows}
</table>"""


class Catalogue(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        print(f"{self.command} {self.path}", flush=True)


if __name__ == "__main__":
    print("The catalogue is at port 8000", flush=True)
    ThreadingHTTPServer(("127.0.0.1", 8000), Catalogue).serve_forever()
`,
  'style.css': `body { font: 15px/1.5 system-ui, sans-serif; margin: 28px; color: #23302a; background: #fbfaf6; }
h1 { margin: 0; font-size: 24px; color: #2c5f45; }
p { margin: 4px 0 20px; color: #5d6b63; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th { text-align: left; font-weight: 600; color: #5d6b63; }
th, td { padding: 7px 10px 7px 0; border-bottom: 1px solid #e5e2d6; }
td:last-child, th:last-child { text-align: right; padding-right: 0; }
`,
  'data/seeds.csv': `name,kind,sow,grams
Black Krim,tomato,March,12
Mizuna,leaf,April,40
Uchiki Kuri,squash,May,65
Bull's Blood,beet,April,80
Cosmic Purple,carrot,March,25
Lazy Housewife,bean,May,140
Freckles,lettuce,March,18
Crystal Lemon,cucumber,May,9
Telegraph,pea,February,210
`,
  'tests/test_app.py': `import unittest

import app


class TheCatalogue(unittest.TestCase):
    def test_sorts_by_name(self):
        names = [seed["name"] for seed in app.seeds()]
        self.assertEqual(names, sorted(names))

    def test_escapes_what_it_shows(self):
        seed = dict(name="<b>", kind="", sow="", grams="")
        self.assertIn("&lt;b&gt;", app.row(seed))


if __name__ == "__main__":
    unittest.main()
`,
  'README.md': `# Seed catalogue

Run \`app.py\` and look at port 8000. The sorts are in \`data/seeds.csv\`.
`,
};
