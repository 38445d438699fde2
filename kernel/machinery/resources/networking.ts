/** Endpoints by the slice, Ingresses, policies and addresses. */
import type * as k8s from '../../contract/kubernetes.ts';
import { inGroup } from './resource-type.ts';

const discovery = inGroup('discovery.k8s.io', 'v1');
const networking = inGroup('networking.k8s.io', 'v1');

export const networkingResources = {
  endpointSlices: discovery.namespaced<k8s.EndpointSlice>('EndpointSlice', 'endpointslices'),
  ipAddresses: networking.clusterWide<k8s.IPAddress>('IPAddress', 'ipaddresses', { shortNames: ['ip'] }),
  ingresses: networking.namespaced<k8s.Ingress>('Ingress', 'ingresses', { shortNames: ['ing'] }),
  ingressClasses: networking.clusterWide<k8s.IngressClass>('IngressClass', 'ingressclasses'),
  networkPolicies: networking.namespaced<k8s.NetworkPolicy>('NetworkPolicy', 'networkpolicies', {
    shortNames: ['netpol'],
  }),
  serviceCIDRs: networking.clusterWide<k8s.ServiceCIDR>('ServiceCIDR', 'servicecidrs'),
} as const;
