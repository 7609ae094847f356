export { default } from './Ide.svelte';
