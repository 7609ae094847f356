// A small web server: what Node.js brings and nothing else.
import { createServer } from "node:http";

const port = Number(process.env.PORT ?? 3000);

function page(name) {
  const safe = name.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
  return `<!doctype html>
<html lang="en">
  <meta charset="utf-8">
  <title>Hello</title>
  <style>body { font: 1.2rem/1.5 system-ui; margin: 4rem auto; max-width: 32rem }</style>
  <h1>Hello, ${safe}!</h1>
  <form><input name="name" placeholder="Your name" autofocus> <button>Greet</button></form>
</html>
`;
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname !== "/") {
    response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" });
    response.end("There is no such page.\n");
    return;
  }
  response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
  response.end(page(url.searchParams.get("name") ?? "world"));
});

server.listen(port, () => console.log(`Listening on http://localhost:${port}`));
