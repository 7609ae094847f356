/** How far back a list looks, as the API says it. */
export const times = [
  { value: '1h', label: 'Last hour' },
  { value: '24h', label: 'Last 24 hours' },
  { value: '168h', label: 'Last 7 days' },
  { value: '720h', label: 'Last 30 days' },
  { value: '', label: 'Any time' },
];
