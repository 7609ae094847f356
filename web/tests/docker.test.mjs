// `make up` with Docker as one types it, on a Docker Engine of the tests' own: from the link that it prints to a program that
// is seen in the preview, and nothing left behind. Run by scripts/test-web; skipped where this machine has no engine.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { engine } from './engine.mjs';
import { makeUp } from './server.mjs';

const SERVER = `from http.server import BaseHTTPRequestHandler, HTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>Sunny in the container</h1>")


print("Listening", flush=True)
HTTPServer(("127.0.0.1", 8000), Hello).serve_forever()
`;

const docker = await engine().catch((error) => ({ missing: error.message }));

describe('with Docker', { skip: docker.missing ?? false }, () => {
  // A server of this machine, for who may reach it.
  let outside;
  let up;
  let person;
  let page;
  let barriers;
  let files;
  let text;
  let id;

  before(async () => {
    outside = createServer((_, answer) => answer.end('Windy outside'));
    await once(outside.listen(0, '127.0.0.1'), 'listening');
    const reachable = `127.0.0.1:${outside.address().port}`;
    up = await makeUp(['--driver', 'docker'], { DOCKER_HOST: docker.host, REEVE_WORKSPACES_REACHABLE: reachable });
    // A person at this server, not at the one of the other tests.
    Object.assign(process.env, { REEVE_URL: up.url, REEVE_DATA: up.data });
    const visits = await import('./visit.mjs');
    ({ barriers } = visits);
    person = await visits.visit();
    page = person.page;
    files = page.getByRole('tree', { name: 'Files' });
    text = page.locator('.cm-content').first();
  });

  after(async () => {
    await person?.close();
    await up?.stop();
    await docker.stop();
    outside.close();
  });

  /** What the engine has of the workspace; spares are others. */
  const on = (...words) => docker.docker(...words, '--quiet', '--filter', `label=session_id=${id}`);
  const row = (name) => page.locator('tbody tr', { has: page.getByRole('button', { name, exact: true }) });
  const screen = (words) => page.locator('.screen.shown .xterm-rows').first().getByText(words).first();

  async function menu(name, item) {
    await row(name).getByRole('button', { name: `More for ${name}` }).click();
    await page.getByRole('menuitem', { name: item }).click();
  }

  async function remove(name) {
    await person.go('/workspaces');
    await menu(name, 'Delete');
    await row(name).waitFor({ state: 'detached' });
    await page.getByRole('tab', { name: /^Deleted/ }).click();
    await menu(name, 'Remove for good…');
    await page.getByRole('button', { name: 'Remove for good' }).click();
    await row(name).waitFor({ state: 'detached' });
  }

  it('the printed link leads to a workspace that is one click away', async () => {
    await page.goto(await up.link);
    const dialog = page.getByRole('dialog', { name: 'New workspace' });
    await dialog.getByRole('radio', { name: /^Python/ }).and(page.locator(':checked')).waitFor({ state: 'attached' });
    await dialog.getByRole('button', { name: 'Create and open' }).click();
    await page.waitForURL(/#\/workspaces\/wsp_/);
    id = /wsp_\w+/.exec(page.url())[0];
    await files.getByText('app.py').waitFor();
  });

  it('a web server that is written here is seen in the preview', async () => {
    await page.getByRole('button', { name: 'New file' }).first().click();
    await page.getByLabel('Name of the new file').fill('server.py');
    await page.keyboard.press('Enter');
    await page.getByRole('tab', { name: 'server.py', selected: true }).waitFor();
    await text.click();
    await page.keyboard.insertText(SERVER);
    await page.keyboard.press('ControlOrMeta+s');
    await page.locator('footer').getByText('Saved', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Run this file' }).click();
    await page.getByRole('log', { name: 'Output' }).getByText('Listening').waitFor();
    await page.getByRole('button', { name: 'Ports 1' }).waitFor();
    await page.getByRole('button', { name: 'Preview', exact: true }).first().click();
    await page.getByRole('button', { name: /Port 8000/ }).click();
    await page.frameLocator('iframe').getByText('Sunny in the container').waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByText('Stopped', { exact: true }).waitFor();
  });

  it('the terminal echoes from inside the container', async () => {
    await page.keyboard.press('ControlOrMeta+`');
    await page.locator('.lamp.open').first().waitFor();
    await page.locator('.screen.shown .xterm').first().click();
    await page.keyboard.type('echo "$(id -u)-$((40+2))-$(ls server.py)"\n');
    await screen('1000-42-server.py').waitFor();
  });

  it('it is told what holds it, and rests and goes on with its files', async () => {
    await person.go('/workspaces');
    await row('python').getByRole('button', { name: 'python', exact: true }).click();
    await page.getByRole('complementary', { name: 'Details of python' }).getByText('A container of its own').waitFor();
    assert.match(on('ps'), /^\w+$/, 'one container runs');
    await menu('python', 'Suspend');
    await row('python').getByText('Suspended').waitFor();
    assert.equal(on('ps'), '', 'what rests does not run');
    await menu('python', 'Resume');
    await row('python').getByText('Running').waitFor();
    await row('python').getByRole('button', { name: 'Open python' }).click();
    await files.getByText('server.py').waitFor();
  });

  it('a new one reaches what it was given to reach, and nothing else', async () => {
    const asked = (port) => `no_proxy= NO_PROXY= python3 -c "import urllib.request as r; print(r.urlopen('http://127.0.0.1:${port}').read().decode())"\n`;
    await person.go('/workspaces');
    await page.getByRole('button', { name: 'New workspace' }).first().click();
    const dialog = page.getByRole('dialog', { name: 'New workspace' });
    await dialog.getByText('Python', { exact: true }).click();
    await dialog.getByRole('textbox', { name: 'Name' }).fill('outward');
    await dialog.getByRole('button', { name: /^Limits, network and isolation/ }).click();
    await dialog.getByLabel('Held by').selectOption('docker');
    await dialog.getByRole('radio', { name: /^Named hosts/ }).check();
    await dialog.getByRole('textbox', { name: 'Hosts' }).fill(`127.0.0.1:${outside.address().port}`);
    assert.deepEqual(await barriers(page), []);
    await dialog.getByRole('button', { name: 'Create and open' }).click();
    await page.waitForURL((url) => /#\/workspaces\/wsp_/.test(url.href) && !url.href.includes(id));
    await files.getByText('app.py').waitFor();
    await page.keyboard.press('ControlOrMeta+`');
    await page.locator('.lamp.open').first().waitFor();
    await page.locator('.screen.shown .xterm').first().click();
    await page.keyboard.type(asked(outside.address().port));
    await screen('Windy outside').waitFor();
    await page.keyboard.type(asked(outside.address().port + 1));
    await screen('HTTP Error 403').waitFor();
    await remove('outward');
    await page.getByRole('tab', { name: /^All/ }).click();
  });

  it('removing it for good leaves nothing on the engine', async () => {
    await remove('python');
    assert.deepEqual([on('ps', '--all'), on('volume', 'ls')], ['', ''], 'no container and no volume');
    assert.deepEqual(person.complaints, []);
  });

  it('nor does the server, when it ends', async () => {
    await up.stop();
    assert.deepEqual([docker.docker('ps', '--all', '--quiet'), docker.docker('volume', 'ls', '--quiet')], ['', '']);
  });
});
