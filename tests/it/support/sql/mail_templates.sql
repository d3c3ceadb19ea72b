CREATE TABLE public.emailtemplate (
    id uuid NOT NULL PRIMARY KEY,
    name character varying(255) NOT NULL,
    slug character varying(255) NOT NULL UNIQUE,
    subject character varying(255) NOT NULL,
    html_content json,
    text_content json,
    is_active boolean NOT NULL
);
