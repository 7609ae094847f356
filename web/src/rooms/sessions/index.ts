export { default } from './Room.svelte';
