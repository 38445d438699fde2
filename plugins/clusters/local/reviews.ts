/** Reviews: questions about who somebody is and what they may do, answered by what the authorizer would decide. */
import type { AccessRequest, KubernetesObject, UserInfo } from '../../../kernel/contract/index.ts';
import type {
  LocalSubjectAccessReview,
  PolicyRule,
  SelfSubjectReview,
  SelfSubjectRulesReview,
  SubjectAccessReview,
  SubjectAccessReviewSpec,
  SubjectAccessReviewStatus,
  TokenReview,
} from '../../../kernel/contract/kubernetes.ts';
import type { Authorizer } from './access/authorizer.ts';
import { badRequest, invalid } from './api-errors.ts';
import type { Resource } from './catalog.ts';
import type { Engine } from './engine.ts';
import type { Shaped } from './shape.ts';
import { FieldErrors } from './validation/field-errors.ts';

/** This process itself, when nobody else is named. */
const processUser: UserInfo = { name: 'system:unix', groups: ['system:masters', 'system:authenticated'] };

function requestOf({ resourceAttributes, nonResourceAttributes }: SubjectAccessReviewSpec): AccessRequest {
  if (nonResourceAttributes) return { verb: nonResourceAttributes.verb ?? '', path: nonResourceAttributes.path ?? '' };
  const { verb = '', group, resource, subresource, name, namespace } = resourceAttributes ?? {};
  return { verb, group, resource, subresource, name, namespace: namespace || undefined };
}

function decide(access: Authorizer | undefined, user: UserInfo, spec: SubjectAccessReviewSpec) {
  const { allowed, reason } = access?.authorize(user, requestOf(spec)) ?? { allowed: false, reason: '' };
  return { allowed, ...(reason !== '' && { reason }) } satisfies SubjectAccessReviewStatus;
}

const subjectOf = ({ user = '', groups = [], uid }: SubjectAccessReviewSpec): UserInfo => ({
  name: user,
  groups,
  ...(uid !== undefined && { uid }),
});

function checkAttributes(resource: Resource, review: SubjectAccessReview, needsSubject: boolean): void {
  const errors = new FieldErrors();
  const { spec } = review;
  if (spec?.resourceAttributes && spec.nonResourceAttributes) {
    errors.invalid(
      'spec.nonResourceAttributes',
      spec.nonResourceAttributes,
      'cannot be specified in combination with resourceAttributes',
    );
  }
  if (!spec?.resourceAttributes && !spec?.nonResourceAttributes) {
    errors.invalid(
      'spec.resourceAttributes',
      null,
      'exactly one of nonResourceAttributes or resourceAttributes must be specified',
    );
  }
  if (needsSubject && !spec?.user && !spec?.groups?.length) {
    errors.invalid('spec.user', '', 'at least one of user or group must be specified');
  }
  if (!errors.isEmpty) throw invalid(resource.served, review.metadata.name ?? '', errors.causes);
}

const wireUser = ({ name, uid, groups, extra }: UserInfo) => ({
  username: name,
  ...(uid !== undefined && { uid }),
  groups: [...groups],
  ...(extra && { extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, [...values]])) }),
});

function rulesReview(engine: Engine, draft: SelfSubjectRulesReview, user: UserInfo): SelfSubjectRulesReview {
  const rules = engine.access?.rulesFor(user, draft.spec.namespace) ?? [];
  const isPath = (rule: PolicyRule) => (rule.nonResourceURLs?.length ?? 0) > 0;
  return {
    ...draft,
    status: {
      resourceRules: rules
        .filter((rule) => !isPath(rule))
        .map(({ verbs, apiGroups, resources, resourceNames }) => ({
          verbs: [...verbs],
          ...(apiGroups && { apiGroups: [...apiGroups] }),
          ...(resources && { resources: [...resources] }),
          ...(resourceNames && { resourceNames: [...resourceNames] }),
        })),
      nonResourceRules: rules
        .filter(isPath)
        .map(({ verbs, nonResourceURLs }) => ({ verbs: [...verbs], nonResourceURLs: [...nonResourceURLs!] })),
      incomplete: false,
    },
  };
}

function tokenReview(engine: Engine, draft: TokenReview): TokenReview {
  if (!draft.spec?.token) throw badRequest('token is required for TokenReview in authentication');
  const { tokens } = engine;
  const asked = draft.spec.audiences?.length ? draft.spec.audiences : undefined;
  const answer = tokens?.authenticate(draft.spec.token, asked) ?? { failure: 'this cluster issues no tokens' };
  if ('failure' in answer) return { ...draft, status: { authenticated: false, user: {}, error: answer.failure } };
  return {
    ...draft,
    status: { authenticated: true, user: wireUser(answer.user), audiences: [...answer.audiences] },
  };
}

/** The review with its status: the answer to its creation. */
export function review(
  engine: Engine,
  resource: Resource,
  { object, causes }: Shaped,
  caller: UserInfo | undefined,
): KubernetesObject {
  if (causes.length > 0) throw invalid(resource.served, object.metadata.name ?? '', causes);
  const user = caller ?? processUser;
  switch (resource.served.kind) {
    case 'SelfSubjectReview':
      return { ...(object as SelfSubjectReview), status: { userInfo: wireUser(user) } } as SelfSubjectReview;
    case 'SelfSubjectAccessReview':
      checkAttributes(resource, object as SubjectAccessReview, false);
      return {
        ...object,
        status: decide(engine.access, user, (object as SubjectAccessReview).spec),
      } as KubernetesObject;
    case 'SubjectAccessReview': {
      const draft = object as SubjectAccessReview;
      checkAttributes(resource, draft, true);
      return { ...draft, status: decide(engine.access, subjectOf(draft.spec), draft.spec) } as KubernetesObject;
    }
    case 'LocalSubjectAccessReview': {
      const draft = object as LocalSubjectAccessReview;
      checkAttributes(resource, draft, true);
      const { namespace } = draft.spec.resourceAttributes ?? {};
      if (namespace !== draft.metadata.namespace) {
        throw badRequest(
          `spec.resourceAttributes.namespace must match namespace: expected ${draft.metadata.namespace}, got ${namespace ?? ''}`,
        );
      }
      return { ...draft, status: decide(engine.access, subjectOf(draft.spec), draft.spec) } as KubernetesObject;
    }
    case 'SelfSubjectRulesReview': {
      const draft = object as SelfSubjectRulesReview;
      if (!draft.spec?.namespace) throw badRequest('no namespace on request');
      return rulesReview(engine, draft, user);
    }
    case 'TokenReview':
      return tokenReview(engine, object as TokenReview);
    default:
      throw badRequest(`${resource.served.kind} is not a review that this server answers`);
  }
}
