// The identity provider of the tests: oidc-provider with the settings of its first argument (JSON), on a port that it picks or is told.
// It logs its one person in without asking, and prints its port once it listens. It ends with its standard input.
import { createServer } from 'node:http'
import Provider, { interactionPolicy } from 'oidc-provider'

const settings = JSON.parse(process.argv[2])
const server = createServer()
await new Promise((resolve) => server.listen(settings.port, '127.0.0.1', resolve))
const issuer = settings.issuer ?? `http://127.0.0.1:${server.address().port}`

const provider = new Provider(issuer, {
  clients: ['assistd', 'another'].map((id) => ({
    client_id: id,
    client_secret: settings.secret,
    redirect_uris: [settings.redirect],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    id_token_signed_response_alg: settings.alg,
  })),
  jwks: { keys: settings.keys },
  cookies: { keys: [settings.secret] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: settings.conform, // true: the address is at the UserInfo endpoint only
  ttl: { IdToken: 60, AccessToken: 60, AuthorizationCode: 60, Interaction: 60, Session: 60, Grant: 60 },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  interactions: { policy: interactionPolicy.base(), url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => settings.person }),
})

// The person says yes to whatever is asked.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next()
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res)
  if (prompt.name === 'login') {
    return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: settings.person.sub } })
  }
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
  grant.addOIDCScope(params.scope)
  return provider.interactionFinished(ctx.req, ctx.res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true })
})

server.on('request', provider.callback())
process.stdin.resume().on('end', () => process.exit(0))
console.log(server.address().port)
