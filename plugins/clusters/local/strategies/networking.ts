/** Ingresses, NetworkPolicies and EndpointSlices. */
import type { EndpointSlice, Ingress, IngressBackend, NetworkPolicy } from '../../../../kernel/contract/kubernetes.ts';
import { familyOf } from '../services/ip.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { subdomainFaults } from '../validation/names.ts';
import { validateSelector } from '../validation/selector.ts';
import type { Strategy } from './strategy.ts';

function validateBackend(backend: IngressBackend, field: string, errors: FieldErrors): void {
  if (!backend.service === !backend.resource) {
    if (backend.service) errors.invalid(field, '', 'cannot set both resource and service backends');
    else errors.required(field, 'a service or a resource must be specified');
    return;
  }
  if (!backend.service) return;
  if (!backend.service.name) errors.required(`${field}.service.name`);
  const { name, number } = backend.service.port ?? {};
  if (!name && !number) errors.required(`${field}.service.port`, 'port name or number is required');
  else if (name && number) errors.invalid(`${field}.service.port`, '', 'cannot set both port name & port number');
  errors.range(`${field}.service.port.number`, number || undefined, 1, 65_535);
}

export const ingress: Strategy<Ingress> = {
  countsGeneration: true,
  initialStatus: () => ({ loadBalancer: {} }),
  validate({ spec }, errors) {
    if (!spec.rules?.length && !spec.defaultBackend) {
      errors.invalid('spec', [], 'either `defaultBackend` or `rules` must be specified');
    }
    if (spec.defaultBackend) validateBackend(spec.defaultBackend, 'spec.defaultBackend', errors);
    for (const [index, rule] of (spec.rules ?? []).entries()) {
      const field = `spec.rules[${index}]`;
      if (rule.host) {
        if (familyOf(rule.host)) errors.invalid(`${field}.host`, rule.host, 'must be a DNS name, not an IP address');
        else errors.faults(`${field}.host`, rule.host, subdomainFaults(rule.host.replace(/^\*\./, '')));
      }
      for (const [at, path] of (rule.http?.paths ?? []).entries()) {
        const place = `${field}.http.paths[${at}]`;
        if (!path.pathType) errors.required(`${place}.pathType`, 'pathType must be specified');
        else errors.oneOf(`${place}.pathType`, path.pathType, ['Exact', 'ImplementationSpecific', 'Prefix']);
        const isPath = path.pathType === 'Exact' || path.pathType === 'Prefix' || path.path;
        if (isPath && !path.path?.startsWith('/'))
          errors.invalid(`${place}.path`, path.path ?? '', 'must be an absolute path');
        if (path.backend) validateBackend(path.backend, `${place}.backend`, errors);
      }
    }
  },
};

export const networkPolicy: Strategy<NetworkPolicy> = {
  countsGeneration: true,
  validate({ spec }, errors) {
    validateSelector(spec?.podSelector, 'spec.podSelector', errors);
    for (const [index, type] of (spec?.policyTypes ?? []).entries()) {
      errors.oneOf(`spec.policyTypes[${index}]`, type, ['Egress', 'Ingress']);
    }
    for (const direction of ['ingress', 'egress'] as const) {
      for (const [index, rule] of (spec?.[direction] ?? []).entries()) {
        const peers = 'from' in rule ? rule.from : 'to' in rule ? rule.to : undefined;
        const word = direction === 'ingress' ? 'from' : 'to';
        for (const [at, peer] of (peers ?? []).entries()) {
          const field = `spec.${direction}[${index}].${word}[${at}]`;
          const { ipBlock, podSelector, namespaceSelector } = peer;
          if (!ipBlock && !podSelector && !namespaceSelector) errors.required(field, 'must specify a peer');
          if (ipBlock && (podSelector || namespaceSelector)) {
            errors.forbidden(field, 'may not specify both ipBlock and another peer');
          }
          validateSelector(podSelector, `${field}.podSelector`, errors);
          validateSelector(namespaceSelector, `${field}.namespaceSelector`, errors);
        }
        for (const [at, port] of (rule.ports ?? []).entries()) {
          const field = `spec.${direction}[${index}].ports[${at}]`;
          if (typeof port.port === 'number') errors.range(`${field}.port`, port.port, 1, 65_535);
          if (port.endPort !== undefined && typeof port.port === 'number' && port.endPort < port.port) {
            errors.invalid(`${field}.endPort`, port.endPort, 'must be greater than or equal to `port`');
          }
        }
      }
    }
  },
};

export const endpointSlice: Strategy<EndpointSlice> = {
  countsGeneration: true,
  validate(object, errors) {
    const { addressType } = object;
    if (!addressType) errors.required('addressType');
    else errors.oneOf('addressType', addressType, ['FQDN', 'IPv4', 'IPv6']);
    if ((object.endpoints?.length ?? 0) > 1_000) {
      errors.add(
        'FieldValueTooMany',
        'endpoints',
        `Too many: ${object.endpoints!.length}: must have at most 1000 items`,
      );
    }
    for (const [index, endpoint] of (object.endpoints ?? []).entries()) {
      const field = `endpoints[${index}].addresses`;
      if (!endpoint.addresses?.length) errors.required(field, 'must contain at least 1 address');
      for (const [at, address] of (endpoint.addresses ?? []).entries()) {
        if (addressType === 'FQDN') errors.faults(`${field}[${at}]`, address, subdomainFaults(address));
        else if (familyOf(address) !== addressType) {
          errors.invalid(`${field}[${at}]`, address, `must be a valid ${addressType} address`);
        }
      }
    }
    const names = new Set<string>();
    for (const [index, port] of (object.ports ?? []).entries()) {
      const name = port.name ?? '';
      if (names.has(name)) errors.duplicate(`ports[${index}].name`, name);
      names.add(name);
      errors.range(`ports[${index}].port`, port.port, 1, 65_535);
    }
  },
  validateUpdate(object, current, errors) {
    if (object.addressType !== current.addressType)
      errors.invalid('addressType', object.addressType, 'field is immutable');
  },
};
