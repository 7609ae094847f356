import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// Where `npm run dev` finds the server. It is asked by its own name, so that previews and terminals work as they do there.
const server = process.env.REEVE_URL ?? 'http://127.0.0.1:8080';
const proxied = { target: server, ws: true, changeOrigin: true, headers: { origin: server } };

export default defineConfig({
  plugins: [svelte()],
  resolve: { alias: { $lib: fileURLToPath(new URL('./src/lib', import.meta.url)) } },
  base: '/',
  build: {
    outDir: '../crates/web/dist',
    emptyOutDir: true,
    manifest: true,
    target: 'es2022',
    // The policy forbids inline anything: small files stay files, and no script is needed to preload modules.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: { checks: { pluginTimings: false } },
    chunkSizeWarningLimit: 1500,
  },
  server: {
    port: 5173,
    strictPort: true,
    proxy: { '/api': proxied, '/preview': proxied },
  },
});
