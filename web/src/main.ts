import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import './lib/ui/floating.css';

const target = document.getElementById('app');
if (target) mount(App, { target });
