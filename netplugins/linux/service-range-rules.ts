/**
 * iptables rules for new connections to addresses of the service range that no Service has. They come after all rules about
 * those that Services have. An address that the node has is somebody's, and is not routed away. Pure.
 */
export function serviceRangeRules(serviceCidrs: readonly string[], refuse: string): string[] {
  return serviceCidrs.map((cidr) => `-d ${cidr} -m addrtype ! --dst-type LOCAL -j ${refuse}`);
}
