/** Addresses of no network, for the rules that preflights try in a namespace of their own. */
import type { IpFamily } from './service-addresses.ts';

interface SampleAddresses {
  /** The range of Services, and two addresses of it. */
  readonly services: string;
  readonly service: string;
  readonly sticky: string;
  readonly balancer: string;
  /** The range of pods, and one of it. */
  readonly pods: string;
  readonly pod: string;
  readonly node: string;
}

export const sampleAddresses: Readonly<Record<IpFamily, SampleAddresses>> = {
  ip: {
    services: '10.96.0.0/12',
    service: '10.96.0.1',
    sticky: '10.96.0.2',
    balancer: '192.0.2.1',
    pods: '10.244.0.0/16',
    pod: '10.244.1.2',
    node: '192.0.2.9',
  },
  ip6: {
    services: 'fd96::/108',
    service: 'fd96::1',
    sticky: 'fd96::2',
    balancer: 'fd02::1',
    pods: 'fd44::/48',
    pod: 'fd44::2',
    node: 'fd02::9',
  },
};
