/** Services: types and what each may have, addresses and node ports, what stays when the type changes. */
import type { Service, ServicePort, ServiceSpec } from '../../../../kernel/contract/kubernetes.ts';
import type { Family } from '../services/ip.ts';
import { familyOf } from '../services/ip.ts';
import { needsAddress, needsNodePorts } from '../services/service-resources.ts';
import type { ServiceResources } from '../services/service-resources.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { portNameFaults, subdomainFaults } from '../validation/names.ts';
import { validateLabels } from '../validation/object-meta.ts';
import type { Strategy } from './strategy.ts';

const types = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const protocols = ['SCTP', 'TCP', 'UDP'];

/** What only the server can know; the rest of the defaults comes with the schema. */
function fillFamilies(spec: ServiceSpec, families: readonly Family[]): void {
  if (spec.type === 'ExternalName') return;
  if (spec.clusterIP && !spec.clusterIPs?.length) spec.clusterIPs = [spec.clusterIP];
  else if (!spec.clusterIP && spec.clusterIPs?.length) spec.clusterIP = spec.clusterIPs[0]!;
  if (!spec.ipFamilies?.length) {
    const given = (spec.clusterIPs ?? []).map(familyOf).filter((family) => family !== undefined);
    spec.ipFamilies = given.length > 0 ? given : families.slice(0, 1);
  }
  spec.ipFamilyPolicy ||= spec.ipFamilies.length > 1 ? 'RequireDualStack' : 'SingleStack';
  if (spec.ipFamilyPolicy !== 'SingleStack' && spec.ipFamilies.length === 1) {
    const other = families.find((family) => family !== spec.ipFamilies![0]);
    if (other) spec.ipFamilies = [...spec.ipFamilies, other];
  }
}

/** What a client leaves out of an update because the server had filled it in stays as it is. */
function carryOver(draft: Service, current: Service): void {
  const { spec } = draft;
  const before = current.spec;
  if (needsAddress(current) && spec.type !== 'ExternalName') {
    if (!spec.clusterIP && !spec.clusterIPs?.length) {
      if (before.clusterIP) spec.clusterIP = before.clusterIP;
      if (before.clusterIPs) spec.clusterIPs = [...before.clusterIPs];
    }
    if (!spec.ipFamilies?.length && before.ipFamilies) spec.ipFamilies = [...before.ipFamilies];
    // Back to one family: what the client left as it was is cut to the first.
    if (spec.ipFamilyPolicy === 'SingleStack' && before.ipFamilyPolicy !== 'SingleStack') {
      if (sameJson(spec.clusterIPs, before.clusterIPs)) spec.clusterIPs = spec.clusterIPs?.slice(0, 1) ?? [];
      if (sameJson(spec.ipFamilies, before.ipFamilies)) spec.ipFamilies = spec.ipFamilies?.slice(0, 1) ?? [];
    }
    if (!spec.ipFamilyPolicy && before.ipFamilyPolicy) spec.ipFamilyPolicy = before.ipFamilyPolicy;
  }
  if (needsNodePorts(current) && needsNodePorts(draft)) {
    const used = new Set((spec.ports ?? []).map((port) => port.nodePort).filter(Boolean));
    for (const port of spec.ports ?? []) {
      if (port.nodePort) continue;
      const same = before.ports?.find(
        (old) => old.port === port.port && (old.protocol ?? 'TCP') === (port.protocol || 'TCP'),
      );
      if (same?.nodePort && !used.has(same.nodePort)) port.nodePort = same.nodePort;
    }
  }
  if (!spec.healthCheckNodePort && before.healthCheckNodePort) spec.healthCheckNodePort = before.healthCheckNodePort;
}

/** What the new type has no use for goes, if the client left it as it was. */
function dropForType(draft: Service, current: Service): void {
  const { spec } = draft;
  const before = current.spec;
  if (spec.type === 'ExternalName' && before.type !== 'ExternalName') {
    if (sameJson(spec.clusterIPs, before.clusterIPs) || spec.clusterIP === before.clusterIP) {
      delete spec.clusterIP;
      delete spec.clusterIPs;
    }
    if (sameJson(spec.ipFamilies, before.ipFamilies)) delete spec.ipFamilies;
    if (spec.ipFamilyPolicy === before.ipFamilyPolicy) delete spec.ipFamilyPolicy;
    delete spec.internalTrafficPolicy;
  }
  if (needsNodePorts(current) && !needsNodePorts(draft)) {
    for (const port of spec.ports ?? []) {
      if (port.nodePort && before.ports?.some((old) => old.nodePort === port.nodePort)) delete port.nodePort;
    }
  }
  const isExternal = spec.type === 'NodePort' || spec.type === 'LoadBalancer';
  if (!isExternal && spec.externalTrafficPolicy === before.externalTrafficPolicy) delete spec.externalTrafficPolicy;
  if (spec.type !== 'LoadBalancer') {
    if (spec.allocateLoadBalancerNodePorts === before.allocateLoadBalancerNodePorts)
      delete spec.allocateLoadBalancerNodePorts;
    if (spec.loadBalancerClass === before.loadBalancerClass) delete spec.loadBalancerClass;
  }
  const needsHealth = spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
  if (!needsHealth && spec.healthCheckNodePort === before.healthCheckNodePort) delete spec.healthCheckNodePort;
  if (spec.type !== 'ExternalName' && before.type === 'ExternalName' && spec.externalName === before.externalName) {
    delete spec.externalName;
  }
}

function validatePort(port: ServicePort, field: string, isOnly: boolean, spec: ServiceSpec, errors: FieldErrors): void {
  if (!port.name) {
    if (!isOnly) errors.required(`${field}.name`);
  } else if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(port.name) || port.name.length > 63) {
    errors.invalid(
      `${field}.name`,
      port.name,
      "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    );
  }
  errors.range(`${field}.port`, port.port ?? 0, 1, 65_535);
  errors.oneOf(`${field}.protocol`, port.protocol, protocols);
  if (typeof port.targetPort === 'number') errors.range(`${field}.targetPort`, port.targetPort, 1, 65_535);
  else if (port.targetPort !== undefined) {
    errors.faults(`${field}.targetPort`, port.targetPort, portNameFaults(port.targetPort));
  }
  if (port.nodePort) {
    if (spec.type === 'ClusterIP' || spec.type === 'ExternalName') {
      errors.forbidden(`${field}.nodePort`, `may not be used when \`type\` is '${spec.type}'`);
    } else errors.range(`${field}.nodePort`, port.nodePort, 1, 65_535);
  }
}

function validatePorts(spec: ServiceSpec, errors: FieldErrors): void {
  const ports = spec.ports ?? [];
  if (ports.length === 0 && spec.clusterIP !== 'None' && spec.type !== 'ExternalName') errors.required('spec.ports');
  const names = new Set<string>();
  const numbers = new Set<string>();
  const nodePorts = new Set<string>();
  for (const [index, port] of ports.entries()) {
    const field = `spec.ports[${index}]`;
    validatePort(port, field, ports.length === 1, spec, errors);
    if (port.name && names.has(port.name)) errors.duplicate(`${field}.name`, port.name);
    if (port.name) names.add(port.name);
    const number = `${port.protocol}/${port.port}`;
    if (numbers.has(number)) errors.duplicate(field, port);
    numbers.add(number);
    if (!port.nodePort) continue;
    const nodePort = `${port.protocol}/${port.nodePort}`;
    if (nodePorts.has(nodePort)) errors.duplicate(`${field}.nodePort`, port.nodePort);
    nodePorts.add(nodePort);
  }
}

function validateAddresses(spec: ServiceSpec, families: readonly Family[], errors: FieldErrors): void {
  const addresses = spec.clusterIPs ?? [];
  if (spec.type === 'ExternalName') {
    if (spec.clusterIP || addresses.length > 0) {
      errors.forbidden('spec.clusterIPs', "may not be set when `type` is 'ExternalName'");
    }
    return;
  }
  if ((spec.clusterIP ?? '') !== (addresses[0] ?? '')) {
    errors.invalid('spec.clusterIPs', addresses, 'first value must match `clusterIP`');
  }
  for (const [index, address] of addresses.entries()) {
    const field = `spec.clusterIPs[${index}]`;
    if (address === 'None') {
      if (addresses.length > 1) errors.invalid(field, address, "'None' must be the first and only value");
      if (spec.type !== 'ClusterIP')
        errors.invalid(field, address, `may not be set to 'None' for ${spec.type} services`);
    } else if (!familyOf(address)) {
      errors.invalid(field, address, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)');
    }
  }
  errors.oneOf('spec.ipFamilyPolicy', spec.ipFamilyPolicy, ['PreferDualStack', 'RequireDualStack', 'SingleStack']);
  if (spec.ipFamilyPolicy === 'RequireDualStack' && families.length < 2 && needsAddress({ spec } as Service)) {
    errors.invalid(
      'spec.ipFamilyPolicy',
      spec.ipFamilyPolicy,
      'this cluster is not configured for dual-stack services',
    );
  }
  if (spec.ipFamilyPolicy === 'SingleStack' && (spec.ipFamilies?.length ?? 0) > 1) {
    const why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple 'ipFamilies' are specified";
    errors.invalid('spec.ipFamilyPolicy', spec.ipFamilyPolicy, why);
  } else if (spec.ipFamilyPolicy === 'SingleStack' && addresses.length > 1) {
    const why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple 'clusterIPs' are specified";
    errors.invalid('spec.ipFamilyPolicy', spec.ipFamilyPolicy, why);
  }
  for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
    errors.oneOf(`spec.ipFamilies[${index}]`, family, ['IPv4', 'IPv6']);
    if (spec.ipFamilies!.indexOf(family) < index) errors.duplicate(`spec.ipFamilies[${index}]`, family);
  }
}

function validate(service: Service, families: readonly Family[], errors: FieldErrors): void {
  const { spec } = service;
  errors.oneOf('spec.type', spec.type, types);
  errors.oneOf('spec.sessionAffinity', spec.sessionAffinity, ['ClientIP', 'None']);
  if (spec.sessionAffinity === 'ClientIP') {
    const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds;
    errors.range('spec.sessionAffinityConfig.clientIP.timeoutSeconds', seconds, 1, 86_400);
  }
  validatePorts(spec, errors);
  validateAddresses(spec, families, errors);
  validateLabels('spec.selector', spec.selector, errors);
  if (spec.type === 'ExternalName') {
    const name = (spec.externalName ?? '').replace(/\.$/, '');
    if (!name) errors.required('spec.externalName');
    else errors.faults('spec.externalName', name, subdomainFaults(name.toLowerCase()));
  }
  for (const [index, address] of (spec.externalIPs ?? []).entries()) {
    if (!familyOf(address)) {
      errors.invalid(
        `spec.externalIPs[${index}]`,
        address,
        'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
      );
    }
  }
  const isExternal = spec.type === 'NodePort' || spec.type === 'LoadBalancer' || (spec.externalIPs?.length ?? 0) > 0;
  if (spec.externalTrafficPolicy) {
    if (!isExternal) {
      errors.invalid(
        'spec.externalTrafficPolicy',
        spec.externalTrafficPolicy,
        'may only be set for externally-accessible services',
      );
    } else errors.oneOf('spec.externalTrafficPolicy', spec.externalTrafficPolicy, ['Cluster', 'Local']);
  }
  errors.oneOf('spec.internalTrafficPolicy', spec.internalTrafficPolicy, ['Cluster', 'Local']);
  errors.oneOf('spec.trafficDistribution', spec.trafficDistribution, [
    'PreferClose',
    'PreferSameZone',
    'PreferSameNode',
  ]);
}

export function serviceStrategy(held: ServiceResources): Strategy<Service> {
  return {
    nameRule: 'label1035',
    initialStatus: () => ({ loadBalancer: {} }),
    prepareCreate: ({ spec }) => fillFamilies(spec, held.families),
    prepareUpdate(service, current) {
      carryOver(service, current);
      dropForType(service, current);
      fillFamilies(service.spec, held.families);
    },
    validate: (service, errors) => validate(service, held.families, errors),
    validateUpdate(service, current, errors) {
      if (service.spec.type === 'ExternalName' || current.spec.type === 'ExternalName') return;
      for (const [index, address] of (current.spec.clusterIPs ?? []).entries()) {
        const next = service.spec.clusterIPs?.[index];
        if (next === address || (index > 0 && next === undefined)) continue;
        errors.invalid(`spec.clusterIPs[${index}]`, service.spec.clusterIPs ?? [], 'may not change once set');
      }
    },
    reserve: (service, current, errors) => held.reserve(service, current, errors),
    fieldNames: ['spec.clusterIP', 'spec.type'],
    field: ({ spec }, path) => (path === 'spec.type' ? (spec.type ?? '') : (spec.clusterIP ?? '')),
  };
}
