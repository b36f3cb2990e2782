"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  // The page has a title and an introduction of its own.
  plugins: [() => ({ wrapComponents: { InfoContainer: () => () => null } })],
});
