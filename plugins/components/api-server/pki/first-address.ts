/** The first usable address of a range: what Service default/kubernetes has. "10.96.0.0/12" gives "10.96.0.1". */
export function firstAddress(cidr: string): string {
  const network = cidr.split('/')[0] ?? cidr;
  if (network.includes(':'))
    return network.endsWith('::')
      ? `${network}1`
      : network.replace(/[0-9a-f]*$/i, (last) => (Number.parseInt(last, 16) + 1).toString(16));
  const parts = network.split('.').map(Number);
  return [...parts.slice(0, 3), (parts[3] ?? 0) + 1].join('.');
}
