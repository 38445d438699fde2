/** The kernel's schedulers, each a module ip_vs_NAME. `twos` came with Linux 5.13; not every kernel was built with all. */
export const schedulers = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'dh',
  'sh',
  'sed',
  'nq',
  'fo',
  'ovf',
  'mh',
  'twos',
] as const;
