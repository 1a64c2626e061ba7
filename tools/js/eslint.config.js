// Rules for the page's modules: ESLint's recommended ones, and a few of this house.

import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    files: ["app/**/*.js", "tools/js/*.js"],
    languageOptions: { sourceType: "module", globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-else-return": "error",
      "no-shadow": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "no-restricted-syntax": [
        "error",
        {
          selector: 'MemberExpression[object.name="window"][property.name=/^__(?!pf$)/]',
          message: "What scripts of the page share stands in shared.js (window.__pf is its name for tests).",
        },
      ],
    },
  },
];
