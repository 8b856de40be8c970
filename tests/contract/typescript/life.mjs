// The whole life of an integration through Kombo's official TypeScript SDK. Takes the sandbox's base URL and
// key; prints what each step gave as JSON.
import { Kombo } from "@kombo-api/sdk";

const [base, api_key] = process.argv.slice(2);
const kombo = new Kombo({ api_key, server_url: `${base}/v1` });
const steps = {};

async function control(path, body) {
  const answer = await fetch(`${base}/_sandbox/${path}`, { method: "POST", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function failure(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.statusCode, code: error.data$?.error?.code };
  }
}

const created = await kombo.connect.createConnectionLink({
  end_user_email: "ada@acme.example",
  end_user_organization_name: "Acme",
  end_user_origin_id: "acme",
  integration_category: "HRIS",
  integration_tool: "personio",
  language: "de",
});
steps.link = created.data.link;
const flow = await control("complete", { link: created.data.link });
const integration_id = flow.integration_id;
steps.by_token = (await kombo.connect.getIntegrationByToken({ token: flow.activation_token })).data;
steps.details = (await kombo.general.getIntegrationDetails({ integration_id })).data;
steps.relink = (await kombo.general.createReconnectionLink({ integration_id, body: {} })).data;
await kombo.general.setIntegrationEnabled({ integration_id, body: { value: false } });
steps.disabled = (await kombo.general.getIntegrationDetails({ integration_id })).data.status;
await kombo.general.setIntegrationEnabled({ integration_id, body: { value: true } });
steps.key = (await kombo.general.checkApiKey()).data;
steps.tools = (await kombo.general.getTools({ category: "hris" })).data.tools.length;
await kombo.general.deleteIntegration({ integration_id, body: {} });

steps.errors = {
  deleted: await failure(() => kombo.general.getIntegrationDetails({ integration_id })),
  token: await failure(() => kombo.connect.getIntegrationByToken({ token: "made-up" })),
  key: await failure(() => new Kombo({ api_key: "wrong", server_url: `${base}/v1` }).general.checkApiKey()),
};
console.log(JSON.stringify(steps, null, 2));
