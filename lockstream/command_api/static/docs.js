window.onload = () => {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    persistAuthorization: true,
    validatorUrl: null,
  });
};
