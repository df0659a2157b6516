"""GLSL sources. Gamma 2 stands in for sRGB: a square and a square root instead of two powers."""

from __future__ import annotations

MESH_VERTEX = """
#version 330
uniform mat4 projection;
in vec3 position;
in vec3 normal;
in vec2 uv;
out vec3 v_position;
out vec3 v_normal;
out vec2 v_uv;
void main() {
    v_position = position;
    v_normal = normal;
    v_uv = uv;
    gl_Position = projection * vec4(position, 1.0);
}
"""

MESH_FRAGMENT = """
#version 330
uniform sampler2D albedo;
uniform vec3 key_direction;
uniform vec3 key;
uniform vec3 fill_direction;
uniform vec3 fill;
uniform vec3 sky;
uniform vec3 ground;
uniform float specular;
uniform vec3 eye;
in vec3 v_position;
in vec3 v_normal;
in vec2 v_uv;
out vec4 colour;
const float WRAP = 0.35;  // light bleeds past the terminator, as in skin
float wrapped(float cosine) { return max(0.0, (cosine + WRAP) / (1.0 + WRAP)); }
void main() {
    vec3 n = normalize(v_normal);
    vec3 base = texture(albedo, v_uv).rgb;
    vec3 radiance = mix(ground, sky, 0.5 + 0.5 * n.y)
        + key * wrapped(dot(n, key_direction))
        + fill * wrapped(dot(n, fill_direction));
    vec3 halfway = normalize(key_direction - normalize(v_position - eye));
    float sheen = max(0.0, dot(n, halfway));
    sheen *= sheen; sheen *= sheen; sheen *= sheen; sheen *= sheen;  // exponent 16
    colour = vec4(sqrt(base * base * radiance + specular * sheen * key), 1.0);
}
"""

BACKGROUND_VERTEX = """
#version 330
in vec2 corner;
out vec2 v_uv;
void main() {
    v_uv = corner;
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
"""

BACKGROUND_FRAGMENT = """
#version 330
uniform sampler2D picture;
in vec2 v_uv;
out vec4 colour;
void main() { colour = vec4(texture(picture, v_uv).rgb, 1.0); }
"""
