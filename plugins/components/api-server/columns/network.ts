/** Columns of networking.k8s.io, discovery.k8s.io, coordination.k8s.io and rbac.authorization.k8s.io. */
import type {
  ClusterRoleBinding,
  EndpointSlice,
  Ingress,
  IngressClass,
  IPAddress,
  Lease,
  NetworkPolicy,
  RoleBinding,
  ServiceCIDR,
} from '../../../../kernel/contract/kubernetes.ts';
import {
  ageColumn,
  ageOf,
  nameColumn,
  orNone,
  selectorText,
  table,
  text,
  wide,
  type Column,
  type ColumnTable,
} from './column.ts';
import { fewOf } from './core.ts';

function hostsText(ingress: Ingress): string {
  const hosts = (ingress.spec?.rules ?? []).map((rule) => rule.host ?? '').filter((host) => host !== '');
  if (hosts.length === 0) return '*';
  return hosts.length > 3 ? `${hosts.slice(0, 3).join(',')} + ${hosts.length - 3} more...` : hosts.join(',');
}

function slicePorts(slice: EndpointSlice): string {
  const ports = slice.ports ?? [];
  if (ports.length === 0) return '<unset>';
  return fewOf(ports.map((port) => String(port.port ?? '*')));
}

const bindingColumns: readonly Column[] = [
  nameColumn,
  text('Role'),
  ageColumn,
  wide(text('Users')),
  wide(text('Groups')),
  wide(text('ServiceAccounts')),
];

function bindingCells(binding: RoleBinding | ClusterRoleBinding, now: number): readonly unknown[] {
  const named = (kind: string): string =>
    (binding.subjects ?? [])
      .filter((subject) => subject.kind === kind)
      .map((subject) => (kind === 'ServiceAccount' ? `${subject.namespace ?? ''}/${subject.name}` : subject.name))
      .join(', ');
  return [
    binding.metadata.name,
    `${binding.roleRef.kind}/${binding.roleRef.name}`,
    ageOf(binding, now),
    named('User'),
    named('Group'),
    named('ServiceAccount'),
  ];
}

export const networkColumns: ColumnTable = {
  'networking.k8s.io/ingresses': table<Ingress>(
    [nameColumn, text('Class'), text('Hosts'), text('Address'), text('Ports'), ageColumn],
    (ingress, now) => [
      ingress.metadata.name,
      orNone(ingress.spec?.ingressClassName ?? ingress.metadata.annotations?.['kubernetes.io/ingress.class']),
      hostsText(ingress),
      (ingress.status?.loadBalancer?.ingress ?? []).map((entry) => entry.ip ?? entry.hostname ?? '').join(','),
      (ingress.spec?.tls?.length ?? 0) > 0 ? '80, 443' : '80',
      ageOf(ingress, now),
    ],
  ),
  'networking.k8s.io/ingressclasses': table<IngressClass>(
    [nameColumn, text('Controller'), text('Parameters'), ageColumn],
    (one, now) => {
      const parameters = one.spec?.parameters;
      const group = parameters?.apiGroup === undefined || parameters.apiGroup === '' ? '' : `.${parameters.apiGroup}`;
      return [
        one.metadata.name,
        one.spec?.controller ?? '',
        parameters === undefined ? '<none>' : `${parameters.kind}${group}/${parameters.name}`,
        ageOf(one, now),
      ];
    },
  ),
  'networking.k8s.io/networkpolicies': table<NetworkPolicy>(
    [nameColumn, text('Pod-Selector'), ageColumn],
    (policy, now) => [policy.metadata.name, selectorText(policy.spec?.podSelector), ageOf(policy, now)],
  ),
  'networking.k8s.io/servicecidrs': table<ServiceCIDR>([nameColumn, text('CIDRs'), ageColumn], (range, now) => [
    range.metadata.name,
    (range.spec?.cidrs ?? []).join(','),
    ageOf(range, now),
  ]),
  'networking.k8s.io/ipaddresses': table<IPAddress>([nameColumn, text('ParentRef'), ageColumn], (address, now) => {
    const parent = address.spec?.parentRef;
    const group = parent?.group === undefined || parent.group === '' ? '' : `.${parent.group}`;
    const scope = parent?.namespace === undefined || parent.namespace === '' ? '' : `${parent.namespace}/`;
    return [
      address.metadata.name,
      parent === undefined ? '<none>' : `${parent.resource}${group}/${scope}${parent.name}`,
      ageOf(address, now),
    ];
  }),
  'discovery.k8s.io/endpointslices': table<EndpointSlice>(
    [nameColumn, text('AddressType'), text('Ports'), text('Endpoints'), ageColumn],
    (slice, now) => {
      const addresses = (slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses);
      return [
        slice.metadata.name,
        slice.addressType,
        slicePorts(slice),
        addresses.length === 0 ? '<unset>' : fewOf(addresses),
        ageOf(slice, now),
      ];
    },
  ),
  'coordination.k8s.io/leases': table<Lease>([nameColumn, text('Holder'), ageColumn], (lease, now) => [
    lease.metadata.name,
    lease.spec?.holderIdentity ?? '',
    ageOf(lease, now),
  ]),
  'rbac.authorization.k8s.io/rolebindings': table<RoleBinding>(bindingColumns, bindingCells),
  'rbac.authorization.k8s.io/clusterrolebindings': table<ClusterRoleBinding>(bindingColumns, bindingCells),
};
